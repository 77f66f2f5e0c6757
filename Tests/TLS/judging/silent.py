# SPDX-License-Identifier: Apache-2.0
"""Clients that connect and send nothing, or little: others are served meanwhile, and each is cut at the deadline."""

import selectors
import threading
import time

from hostile import network
from hostile.report import percentile, scenario

from .server import Server, echoes

TIMEOUT = 4.0
# How much later than the deadline a busy machine may cut them; never earlier.
LATEST = 20.0
BEGINNING = b"\x16\x03\x01"  # of a record


def connect_all(server, count, seconds, beginnings):
    """Clients, with the times at which they began to connect; every second one sends such a beginning."""
    clients = {}
    deadline = time.monotonic() + seconds
    for index in range(count):
        start = time.monotonic()
        client = network.connect(server.port, network.source(index), timeout=max(deadline - start, 1))
        if index % 2:
            client.send(beginnings)
        clients[client] = start
    return clients


def times_until_cut(clients, seconds):
    """How long each was connected; those that the server has not cut are left in `clients`."""
    times = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        deadline = time.monotonic() + seconds
        while clients and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                selector.unregister(key.fileobj)
                times.append(time.monotonic() - clients.pop(key.fileobj))
                key.fileobj.close()
    return times


class GoodClients:
    """One after the other makes a handshake and is served, on a thread, until it is to end."""

    def __init__(self, server):
        self.server = server
        self.times = []
        self.lost = 0
        self.late = 0  # themselves, as the silent ones are
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.is_over.is_set():
            start = time.monotonic()
            try:
                with self.server.client() as client:
                    self.times.append(time.monotonic() - start)
                    self.lost += not echoes(client)
            except OSError:
                is_late = time.monotonic() - start >= TIMEOUT
                self.late += is_late
                self.lost += not is_late
            self.is_over.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.is_over.set()
        self.thread.join()


def run(figures, title, count, places, beginnings, is_judged=True):
    """How many clients the server has cut, when, and how good clients were served beside; at most `places` handshakes."""
    with Server(figures.programs, loops=2, timeout=int(TIMEOUT * 1000), handshakes=places) as server, \
            server.client() as established:
        with GoodClients(server) as good:
            clients = connect_all(server, count, 60, beginnings)
            times = times_until_cut(clients, TIMEOUT + LATEST)
        report = server.report_when(lambda report: report["current"] == 0, "handshakes are left")
        figures.check(f"{title}: the established connection is lost", echoes(established))
        figures.add(f"{title}: clients that were not cut", len(clients), exactly=0)
        figures.add(f"{title}: good clients served", len(good.times), at_least=20)
        figures.add(f"{title}: good clients lost", good.lost, exactly=0 if is_judged else None)
        figures.add(f"{title}: a good client's handshake, p99", percentile(good.times, 0.99) * 1000, "ms")
        figures.add(f"{title}: timed out and dropped", report["timedOut"] + report["dropped"],
                    at_least=count if is_judged else None, at_most=count + good.late if is_judged else None)
        for client in clients:
            client.close()
        return times, report


@scenario("silent")
def silent(figures):
    """silent clients, more than may be in a handshake, and fewer"""
    count = figures.many(1000, 5000)
    times, report = run(figures, "room for all", count, count, BEGINNING)
    figures.add("room for all: dropped", report["dropped"], exactly=0)
    figures.add("room for all: first one cut after", min(times), "s", at_least=TIMEOUT - 0.05)
    figures.add("room for all: last one cut after", max(times), "s")
    # Of each loop. Silent ones alone: the first to be dropped is the oldest of them, and a good client never is.
    places = figures.many(256, 1024)
    _, report = run(figures, "room for some", count, places, b"")
    figures.add("room for some: dropped for others", report["dropped"], at_least=1)
    if figures.is_long:
        # A good client among them has as long for its hello as it takes the others to fill half of the places.
        run(figures, "room for some, half begin", count, places, BEGINNING, is_judged=False)
