# SPDX-License-Identifier: Apache-2.0
"""Clients that have gone before anybody accepted them."""

from . import network
from .processes import EchoServer, Subject
from .report import scenario

AT_ONCE = 1000


def reset_many(port, count):
    clients = [network.connect(port, network.source(index)) for index in range(count)]
    for client in clients:
        network.reset(client)


@scenario("reset-before-accept")
def reset_before_accept(figures):
    """Clients that reset before they are accepted are delivered all the same (F10)."""
    count = figures.many(10_000, 100_000)
    with Subject(figures, "echo") as subject:
        descriptors = subject.descriptors()
        for begun in range(0, count, AT_ONCE):
            subject.tell("pause")
            reset_many(subject.port, AT_ONCE)
            subject.tell("resume")
            subject.accepted(begun + AT_ONCE)
        subject.wait_until("all ended", lambda: subject.statistics()["held"] == 0)
        now = subject.judge(figures, count)
        figures.add("errors told", now["told"], exactly=0)
        figures.add("peer errors", now["peer_errors"], exactly=0)
        figures.add("descriptors left", subject.descriptors() - descriptors, exactly=0)


@scenario("reset-swift")
def reset_swift(figures):
    """The same for a Swift server at full speed, then good clients (F10)."""
    count = figures.many(5_000, 100_000)
    with EchoServer(figures) as server:
        with network.connect(server.port) as client:
            client.sendall(b"x")
            client.recv(1)
        server.wait_until("the first has ended", lambda: server.connections() == 0)
        descriptors = server.descriptors()
        for _ in range(0, count, AT_ONCE):
            reset_many(server.port, AT_ONCE)
        with network.connect(server.port) as client:
            client.sendall(b"x")
            figures.add("then an echo", client.recv(1).decode(), exactly="x")
        server.wait_until("descriptors back", lambda: server.descriptors() == descriptors)
        figures.add("descriptors left", server.descriptors() - descriptors, exactly=0)
        server.stop()
        figures.add("served", server.served(), exactly=count + 2)
        server.judge_silence(figures)
