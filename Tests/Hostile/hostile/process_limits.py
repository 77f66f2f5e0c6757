# SPDX-License-Identifier: Apache-2.0
"""No descriptors, no memory, for as long as it takes."""

import errno
import resource
import time

from . import network
from .processes import EchoServer, Subject
from .report import scenario

CLIENTS = 1000
LIMIT = 64
# Milliseconds until the next attempt, of which the longest back-off takes 1,000; the rest is for a busy machine.
LATEST = 1500


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def watch_starving(figures, subject, what):
    """CPU and wake-ups while nothing can be accepted."""
    seconds = figures.many(3, 60 if what == "EMFILE" else 10)
    # Its back-off reaches a second.
    subject.wait_until("the longest back-off", lambda: subject.statistics()["resource_errors"] >= 9)
    before = (subject.cpu_seconds(), subject.voluntary_switches(), subject.statistics())
    time.sleep(seconds)
    after = (subject.cpu_seconds(), subject.voluntary_switches(), subject.statistics())
    figures.add(f"{what}: CPU", 100 * (after[0] - before[0]) / seconds, "% of a core", at_most=1.0)
    figures.add(f"{what}: wake-ups", (after[1] - before[1]) / seconds, "/s", at_most=25)
    figures.add(f"{what}: turns of the loop", (after[2]["turns"] - before[2]["turns"]) / seconds, "/s", at_most=25)
    figures.add(f"{what}: attempts", (after[2]["accepts"] - before[2]["accepts"]) / seconds, "/s", at_most=3)
    figures.add(f"{what}: errors told", after[2]["told"], exactly=1)


@scenario("out-of-descriptors")
def out_of_descriptors(figures):
    """EMFILE with 1,000 clients waiting: no spin, no client lost (G8, F1)."""
    with Subject(figures, "hold", prepare=limit_descriptors) as subject:
        clients = [network.connect(subject.port) for _ in range(CLIENTS)]
        watch_starving(figures, subject, "EMFILE")
        accepted = subject.statistics()["accepted"]
        figures.add("held", accepted)
        # The goal is 20 ms; the rest is for a busy machine.
        for number in range(1, 6):
            start = time.monotonic()
            subject.tell("drop", 1)
            subject.accepted(accepted + number)
            figures.add("one served after an own close", 1000 * (time.monotonic() - start), "ms", at_most=200)
        maximum = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(subject.pid, resource.RLIMIT_NOFILE, (maximum, maximum))
        figures.add("all served after a foreign one", 1000 * subject.accepted(CLIENTS), "ms", at_most=LATEST)
        now = subject.judge(figures, CLIENTS)
        figures.add("episodes", now["episodes"], at_most=7)
        for client in clients:
            client.close()


@scenario("shedding")
def shedding(figures):
    """EMFILE and a server that rejects clients it cannot serve: they notice, and no other client suffers (G8)."""
    # A batch of 64 each time that it looks again, a second apart in the end.
    count = figures.many(300, 1000)
    with Subject(figures, "hold", "--policy", "shed", prepare=limit_descriptors) as subject:
        cpu, start = subject.cpu_seconds(), time.monotonic()
        clients = [network.connect(subject.port) for _ in range(count)]
        took = subject.accepted(count)
        now = subject.judge(figures, count)
        figures.add("held", now["held"], at_least=10)
        figures.add("turned away", now["shed"], exactly=count - now["held"])
        figures.add("all turned away after", took, "s")
        ended = 0
        for client in clients:
            client.settimeout(0.01)
            try:
                ended += client.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                ended += 1
        figures.add("clients that know", ended, exactly=now["shed"])
        seconds = time.monotonic() - start
        figures.add("CPU", 100 * (subject.cpu_seconds() - cpu) / seconds, "% of a core", at_most=10)
        subject.tell("drop", 5)
        more = [network.connect(subject.port) for _ in range(5)]
        subject.accepted(count + 5)
        subject.wait_until("five more held", lambda: subject.statistics()["held"] == now["held"], 5)
        figures.add("errors told", subject.judge(figures, count + 5)["told"], at_least=1)
        for client in clients + more:
            client.close()


@scenario("out-of-memory")
def out_of_memory(figures):
    """ENFILE, ENOBUFS, ENOMEM for ever, then no more (F2, F3)."""
    for name in figures.many(["ENOBUFS"], ["ENFILE", "ENOBUFS", "ENOMEM"]):
        with Subject(figures, "hold") as subject:
            subject.tell("fail", -1, getattr(errno, name))
            clients = [network.connect(subject.port) for _ in range(CLIENTS)]
            watch_starving(figures, subject, name)
            subject.tell("heal")
            figures.add(f"{name}: all served after", 1000 * subject.accepted(CLIENTS), "ms", at_most=LATEST)
            subject.judge(figures, CLIENTS)
            for client in clients:
                client.close()


@scenario("swift-out-of-descriptors")
def swift_out_of_descriptors(figures):
    """1,000 clients of a Swift server that may hold a few: it rests while none ends, then serves each in turn (G8, F1)."""
    with EchoServer(figures, prepare=limit_descriptors) as server:
        clients = [network.connect(server.port) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(b"x")
        clients[0].recv(1)
        time.sleep(1.5)  # until its back-off is at its longest
        seconds = figures.many(2, 60)
        cpu, switches = server.cpu_seconds(), server.voluntary_switches()
        time.sleep(seconds)
        figures.add("CPU", 100 * (server.cpu_seconds() - cpu) / seconds, "% of a core", at_most=1.0)
        figures.add("wake-ups", (server.voluntary_switches() - switches) / seconds, "/s", at_most=25)
        start = time.monotonic()
        clients[0].close()
        echoed = 1
        for client in clients[1:]:
            echoed += client.recv(1) == b"x"
            client.close()
        figures.add("clients served", echoed, exactly=CLIENTS)
        figures.add("all served after", time.monotonic() - start, "s")
        server.stop()
        figures.add("connections served", server.served(), exactly=CLIENTS)
        server.judge_silence(figures)
