# SPDX-License-Identifier: Apache-2.0
"""A server that starts other processes while clients come."""

import threading

from . import network
from .processes import Subject
from .queue_sharing import connect_and_close
from .report import scenario


@scenario("forks-in-a-storm")
def forks_in_a_storm(figures):
    """Children without exec that end their copy of the server: the parent loses nothing (F16)."""
    count = figures.many(5_000, 50_000)
    forks = figures.many(50, 500)
    with Subject(figures, "close") as subject, Subject(figures, "echo") as quiet:
        clients = [network.connect(quiet.port) for _ in range(100)]
        quiet.accepted(100)
        ended = []
        storm = threading.Thread(target=lambda: ended.append(connect_and_close(subject.port, count)))
        storm.start()
        statuses = set()
        for _ in range(forks):
            statuses.add(subject.tell("fork")["status"])
            statuses.add(quiet.tell("fork")["status"])
        storm.join()
        figures.add("statuses of the children", str(statuses), exactly="{0}")
        figures.add("connections ended by the server", sum(ended), exactly=count)
        subject.judge(figures, count)
        echoed = 0
        for client in clients:
            client.sendall(b"x")
            echoed += client.recv(1) == b"x"
            client.close()
        figures.add("connections of the parent that still echo", echoed, exactly=100)
        quiet.judge(figures, 100)


@scenario("spawns-in-a-storm")
def spawns_in_a_storm(figures):
    """Programs started while clients come see no socket of ours (F17)."""
    with Subject(figures, "hold") as subject:
        done = threading.Event()
        clients = []

        def come():
            while not done.is_set() and len(clients) < 10_000:
                clients.append(network.connect(subject.port))

        storm = threading.Thread(target=come)
        storm.start()
        spawns = figures.many(50, 500)
        seen = [subject.tell("spawn")["sockets"] for _ in range(spawns)]
        done.set()
        storm.join()
        figures.add("programs started", len(seen), exactly=spawns)
        figures.add("most sockets that one saw", max(seen), exactly=0)
        figures.add("least", min(seen), exactly=0)
        subject.accepted(len(clients))
        subject.judge(figures, len(clients))
        for client in clients:
            client.close()
