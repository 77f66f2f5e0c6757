# SPDX-License-Identifier: Apache-2.0
"""As many connections as a process may have."""

import resource
import time

from . import network
from .processes import EchoServer, Server, Subject
from .report import long_only, scenario

LIMIT = 20_000
RESERVED = 100


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)


def echo_all(clients):
    """How many of them get back what they send."""
    for index, client in enumerate(clients):
        client.sendall(bytes([index % 251]))
    return sum(client.recv(2) == bytes([index % 251]) for index, client in enumerate(clients))


def hold(figures, server, most_bytes):
    count = min(LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[0]) - RESERVED
    # The first ones bring what is there once for all.
    first = [network.connect(server.port, network.source(index)) for index in range(500)]
    figures.check("not all of the first echo", echo_all(first) == len(first))
    for client in first:
        client.close()
    server.wait_until("the first have ended", lambda: server.connections() == 0)
    descriptors = server.descriptors()
    memory = server.memory()
    clients = [network.connect(server.port, network.source(index)) for index in range(count)]
    try:
        figures.add("connections held", count)
        figures.add("of them echo", echo_all(clients), exactly=count)
        figures.add("bytes for each", (server.memory() - memory) / count, at_most=most_bytes)
        time.sleep(figures.many(0, 120))
        figures.add("echo a while later", echo_all(clients), exactly=count)
        figures.add("descriptors", server.descriptors() - descriptors, exactly=count)
    finally:
        start = time.monotonic()
        for client in clients:
            client.close()
    server.wait_until("all have ended", lambda: server.descriptors() <= descriptors)
    figures.add("all ended after", time.monotonic() - start, "s")
    figures.add("descriptors left", server.descriptors() - descriptors, exactly=0)
    server.judge_silence(figures)


@scenario("held-in-c")
def held_in_c(figures):
    """19,900 connections of one process, in C: all echo, then all end (G1)."""
    with Subject(figures, "echo", prepare=limit_descriptors) as subject:
        hold(figures, subject, 512)


@scenario("held-in-swift")
def held_in_swift(figures):
    """The same in Swift, each with a task that serves it (G1)."""
    with EchoServer(figures, prepare=limit_descriptors) as server:
        hold(figures, server, 2048)


@scenario("held-by-handlers")
@long_only
def held_by_handlers(figures):
    """The same in Swift, with signals' handlers and a task that waits for the end (G1)."""
    with EchoServer(figures, "--style", "callback", prepare=limit_descriptors) as server:
        hold(figures, server, 4096)


@scenario("held-by-c-echo")
@long_only
def held_by_c_echo(figures):
    """The same with the C example and its buffers of 16 KiB (G1)."""
    limits = ["-c", "1000000", "-f", "3600", "-i", "3600"]
    with Server([figures.programs.c_echo, *limits, "127.0.0.1", "0"], prepare=limit_descriptors) as server:
        hold(figures, server, 20_000)


@scenario("close-pending")
def close_pending(figures):
    """close() with 10,000 pending connections (G11)."""
    count = 10_000
    with Subject(figures, "leave", "--max-pending", "10000") as subject:
        descriptors = subject.descriptors()
        clients = [network.connect(subject.port) for _ in range(count)]
        subject.accepted(count)
        took = subject.tell("close")["microseconds"]
        figures.add("close() took", took / 1000, "ms", at_most=1000)
        now = subject.judge(figures, count)
        figures.add("discarded", now["discarded"], exactly=count)
        # The listening socket's two and the timer that looks after it are closed as well.
        figures.add("descriptors left", subject.descriptors() - descriptors, exactly=-3)
        for client in clients:
            client.close()


@scenario("stop-and-drain")
def stop_and_drain(figures):
    """A Swift server with 10,000 connections in the middle of a request: none is accepted after the signal, and the
    deadline is kept (G11). The same when all of them are between two: they end without it, a second after the server
    has ended them, as the clients do not end their side."""
    for within_request in (True, False):
        stop_with_many(figures, within_request)


def stop_with_many(figures, within_request):
    count = 10_000
    grace = 3
    with EchoServer(figures, *["--http"] * within_request) as server:
        clients = [network.connect(server.port, network.source(index)) for index in range(count)]
        if within_request:
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\n")
            server.wait_until("all are there", lambda: server.connections() == count)
        else:
            figures.add("connections", echo_all(clients), exactly=count)
        took = server.stop()
        if within_request:
            figures.add("ended after the grace of 3 s and", 1000 * (took - grace), "ms", at_least=-50, at_most=1500)
        else:
            figures.add("those that are idle ended after", took, "s", at_most=grace - 0.1)
        figures.add("served", server.served(), exactly=count)
        figures.check("it still listens", not network.run("ss", "-tlnH", "sport", "=", f":{server.port}").strip())
        server.judge_silence(figures)
        for client in clients:
            client.close()
