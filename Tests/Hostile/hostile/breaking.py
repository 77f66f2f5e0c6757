# SPDX-License-Identifier: Apache-2.0
"""An administrator who destroys sockets."""

import time

from . import network
from .processes import EchoServer, Subject
from .report import Failed, needs, scenario


def destroy(*condition):
    network.run("ss", "-K", "-tanH", *condition)


@scenario("ss-kills-listener")
@needs("ss")
def ss_kills_listener(figures):
    """`ss -K` of the listening socket: one error, and no loop that spins (G9, F14)."""
    with Subject(figures, "hold") as subject:
        clients = [network.connect(subject.port) for _ in range(10)]
        subject.accepted(10)
        before = subject.statistics()
        destroy("state", "listening", "sport", "=", f":{subject.port}")
        took = subject.wait_until("noticed", lambda: not subject.statistics()["listening"], 5)
        figures.add("noticed after", 1000 * took, "ms", at_most=1500)
        cpu = subject.cpu_seconds()
        time.sleep(1)
        figures.add("CPU in the second after it", 100 * (subject.cpu_seconds() - cpu), "% of a core", at_most=1.0)
        now = subject.judge(figures, 10)
        figures.add("accept calls more", now["accepts"] - before["accepts"], at_most=3)
        figures.add("errors told", now["told"], exactly=1)
        figures.add("error", now["error"])
        figures.add("connections still held", now["held"], exactly=10)
        for client in clients:
            client.close()


@scenario("ss-kills-swift")
@needs("ss")
def ss_kills_swift(figures):
    """The same for the Swift server: it ends, and says why (G9, F14)."""
    with EchoServer(figures) as server:
        with network.connect(server.port) as client:
            client.sendall(b"x")
            figures.add("an echo first", client.recv(1).decode(), exactly="x")
        start = time.monotonic()
        destroy("state", "listening", "sport", "=", f":{server.port}")
        status = server.child.wait(10)
        figures.add("ended after", time.monotonic() - start, "s", at_most=5.0)
        figures.add("status", status, exactly=1)
        figures.add("said", server.errors().strip())
        figures.check("it said nothing", server.errors().strip() != "")


@scenario("ss-kills-connections")
@needs("ss")
def ss_kills_connections(figures):
    """`ss -K` of connections, queued and accepted: each is counted and ended, the server goes on."""
    count = 100
    with Subject(figures, "echo") as subject:
        descriptors = subject.descriptors()
        taken = [network.connect(subject.port) for _ in range(count)]
        subject.accepted(count)
        subject.tell("pause")
        queued = [network.connect(subject.port) for _ in range(count)]
        destroy("state", "established", "sport", "=", f":{subject.port}")
        subject.tell("resume")
        subject.accepted(2 * count)
        subject.wait_until("all ended", lambda: subject.statistics()["held"] == 0)
        with network.connect(subject.port) as client:
            client.sendall(b"x")
            figures.add("then an echo", client.recv(1).decode(), exactly="x")
        subject.wait_until("that one ended", lambda: subject.statistics()["held"] == 0)
        now = subject.judge(figures, 2 * count + 1)
        figures.add("errors told", now["told"], exactly=0)
        figures.add("descriptors left", subject.descriptors() - descriptors, exactly=0)
        if not any(is_broken(client) for client in taken):
            raise Failed("ss -K has destroyed nothing: the kernel lacks INET_DIAG_DESTROY")
        for client in taken + queued:
            client.close()


@scenario("ss-kills-swift-connections")
@needs("ss")
def ss_kills_swift_connections(figures):
    """The same for the Swift server, whose tasks and handlers wait for these connections."""
    count = 200
    for style in ("async", "callback"):
        with EchoServer(figures, "--style", style) as server:
            with network.connect(server.port) as client:
                client.sendall(b"x")
                client.recv(1)
            server.wait_until("the first has ended", lambda: server.connections() == 0)
            descriptors = server.descriptors()
            clients = [network.connect(server.port) for _ in range(count)]
            for client in clients[::2]:
                client.sendall(b"x")
                client.recv(1)
            destroy("state", "established", "sport", "=", f":{server.port}")
            server.wait_until("all ended", lambda: server.descriptors() == descriptors)
            with network.connect(server.port) as client:
                client.sendall(b"x")
                figures.add(f"{style}: then an echo", client.recv(1).decode(), exactly="x")
            for client in clients:
                client.close()
            server.stop()
            figures.add(f"{style}: served", server.served(), exactly=count + 2)
            server.judge_silence(figures)


def is_broken(client):
    try:
        client.settimeout(0.2)
        client.sendall(b"x")
        return client.recv(1) == b""
    except OSError as error:
        return not isinstance(error, TimeoutError)
