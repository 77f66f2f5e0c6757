# SPDX-License-Identifier: Apache-2.0
"""How many connections each event loop of a server has: the kernel lists what an epoll watches, so no server is asked.
For servers whose loops have an epoll each."""

import contextlib
import os
import random
import re
import socket
import time
from collections import Counter
from pathlib import Path

OPENED, CLOSED, MORE = 1000, 500, 500
# Which ones are closed: the same each time.
SEED = 20


def connections_of_loops(process, port):
    """The numbers of connections that have come to this port and are watched, one for each epoll that has any."""
    inodes = established(Path("/proc/net/tcp").read_text(encoding="ascii"), port)
    descriptors = Path(f"/proc/{process}/fd")
    links = {}
    for name in os.listdir(descriptors):
        with contextlib.suppress(FileNotFoundError):
            links[int(name)] = os.readlink(descriptors / name)
    mine = {number for number, link in links.items()
            if link.startswith("socket:[") and link[len("socket:["):-1] in inodes}
    counts = Counter()
    for number, link in links.items():
        if link == "anon_inode:[eventpoll]":
            with contextlib.suppress(FileNotFoundError):
                about = Path(f"/proc/{process}/fdinfo/{number}").read_text(encoding="ascii")
                counts[number] = len(watched(about) & mine)
    return [counts[number] for number in sorted(counts) if counts[number]]


def established(table, port):
    """The inodes of the server's side of connections to this port, in the kernel's table of TCP."""
    rows = (row.split() for row in table.splitlines()[1:])
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}


def watched(about):
    """The descriptors that an epoll watches, from its file in fdinfo."""
    return {int(number) for number in re.findall(r"(?m)^tfd:\s*(\d+)", about)}


def measure(running, loops, limit):
    """Counts a loop after 1,000 connections, after half of them have been closed, and after 500 more."""
    chosen = random.Random(SEED)
    counted = {}
    with contextlib.ExitStack() as opened:

        def open_some(number):
            for _ in range(number):
                address = ("127.0.0.1", running.port)
                connections.append(opened.enter_context(socket.create_connection(address, limit)))

        connections = []
        open_some(OPENED)
        counted["opened"] = settle(running, OPENED, loops, limit)
        chosen.shuffle(connections)
        for _ in range(CLOSED):
            connections.pop().close()
        counted["closed"] = settle(running, OPENED - CLOSED, loops, limit)
        open_some(MORE)
        counted["more"] = settle(running, OPENED - CLOSED + MORE, loops, limit)
    return counted


def settle(running, number, loops, limit):
    """Waits until all loops together have so many connections; returns how many each has, the fullest first."""
    until = time.monotonic() + limit
    counts = []
    while sum(counts) != number:
        if time.monotonic() > until:
            raise running.failed(f"has {sum(counts)} connections of {number} in its loops")
        counts = connections_of_loops(running.pid, running.port)
        time.sleep(0.01)
    return sorted(counts + [0] * (loops - len(counts)), reverse=True)
