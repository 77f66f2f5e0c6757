# SPDX-License-Identifier: Apache-2.0
"""Who takes which connection: two processes on one listening socket, storms, bursts."""

import select
import socket
import time

from . import network
from .processes import Subject
from .report import Failed, scenario


def connect_and_close(port, count, at_once=64):
    """So many connections, each open until the server ends it; returns how many were."""
    ended, begun = 0, 0
    poller = select.epoll()
    clients = {}
    try:
        while ended < count:
            while begun < count and len(clients) < at_once:
                client = network.begin_connect(port, network.source(begun))
                clients[client.fileno()] = client
                poller.register(client.fileno(), select.EPOLLIN)
                begun += 1
            events = poller.poll(10)
            if not events:
                raise Failed(f"{len(clients)} of {begun} connections hang")
            for descriptor, _ in events:
                client = clients.pop(descriptor)
                if client.recv(1) != b"":
                    raise Failed("a connection brought something")
                client.close()
                ended += 1
    finally:
        for client in clients.values():
            client.close()
        poller.close()
    return ended


@scenario("two-processes")
def two_processes(figures):
    """Two processes accept from one queue: each connection is counted once (F9)."""
    count = figures.many(10_000, 100_000)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        descriptor = listener.fileno()
        options = {"pass_fds": [descriptor]}
        with Subject(figures, "close", "--adopt", descriptor, **options) as one, \
                Subject(figures, "close", "--adopt", descriptor, **options) as other:
            figures.add("connections ended by a server", connect_and_close(one.port, count), exactly=count)
            first, second = one.statistics(), other.statistics()
            one.judge(figures, first["accepted"])
            other.judge(figures, second["accepted"])
            figures.add("accepted by both", first["accepted"] + second["accepted"], exactly=count)
            figures.add("errors told by both", first["told"] + second["told"], exactly=0)
            figures.add("least of one", min(first["accepted"], second["accepted"]), at_least=1)


@scenario("storm")
def storm(figures):
    """Connect and close, many times: what clients saw is what the server counts (G3)."""
    count = figures.many(100_000, 1_000_000)
    with Subject(figures, "close") as subject:
        before = network.kernel_counters()
        start = time.monotonic()
        successes = connect_and_close(subject.port, count)
        seconds = time.monotonic() - start
        now = subject.judge(figures, count)
        figures.add("client successes - delivered - discarded", successes - now["delivered"] - now["discarded"],
                    exactly=0)
        after = network.kernel_counters()
        figures.add("queue overflows", after["TcpExtListenOverflows"] - before["TcpExtListenOverflows"], exactly=0)
        figures.add("rate", count / seconds, "/s")


@scenario("burst")
def burst(figures):
    """16,384 simultaneous connects at a backlog of 65,535: no SYN is sent twice (G4, F25)."""
    count = 16_384
    with Subject(figures, "hold") as subject:
        figures.add("limit of the kernel's queue", subject.statistics()["accept_queue_limit"], exactly=65535)
        subject.tell("pause")
        before = network.kernel_counters()
        start = time.monotonic()
        clients = [network.begin_connect(subject.port, network.source(index)) for index in range(count)]
        try:
            poller = select.epoll()
            for client in clients:
                poller.register(client.fileno(), select.EPOLLOUT | select.EPOLLONESHOT)
            connected = 0
            while connected < count:
                events = poller.poll(5)
                if not events:
                    break
                connected += sum(1 for _, event in events if event == select.EPOLLOUT)
            poller.close()
            figures.add("all connected after", time.monotonic() - start, "s")
            figures.add("connected", connected, exactly=count)
            figures.add("waiting in the kernel", subject.statistics()["accept_queue"], exactly=count)
            subject.tell("resume")
            figures.add("all accepted after", subject.accepted(count), "s")
            after = network.kernel_counters()
            # Not TcpRetransSegs, which connections of earlier scenarios that still end add to.
            for name in ("TcpExtTCPSynRetrans", "TcpExtListenOverflows", "TcpExtListenDrops"):
                figures.add(name, after[name] - before[name], exactly=0)
            subject.judge(figures, count)
        finally:
            for client in clients:
                client.close()
