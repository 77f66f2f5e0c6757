# SPDX-License-Identifier: Apache-2.0
"""One measurement: a server, started for it, under one load."""

import re
import time
from dataclasses import dataclass

from .places import SLEEPING_THREAD
from .processes import Failed, Load, RunningServer

# Clients' addresses: each has all ports to itself. Storm needs one, as it leaves no port in TIME_WAIT, and two system
# calls less a connection that way.
SOURCES = {"drain": 8, "storm": 1, "echo": 8, "hold": 8}
# Hold measures between these and all: what a server sets up once is not a matter of connections.
HOLD_FIRST = 1000


@dataclass(frozen=True)
class Setting:
    """What is the same for all measurements of a run."""

    client_cores: set
    server_cores: set
    seconds: float  # that a load counts
    warm_up: float
    limit: float = 30  # to wait for anything beyond that


def measure(server, load, setting):
    """Figures by name. Raises Failed, also when the server did something wrong."""
    return {"drain": _drain, "storm": _storm, "echo": _echo, "hold": _hold}[load.kind](server, load, setting)


def _start(server, load, setting, *mode):
    arguments = load.arguments if server.loops else ()
    running = RunningServer(server, [*mode, *server.arguments, *arguments], setting.server_cores, setting.limit,
                            SLEEPING_THREAD if load.sleeping_thread else None)
    if load.sleeping_thread and running.threads() < 2:
        running.__exit__()
        raise Failed(f"{server.name} did not load {SLEEPING_THREAD.name}, so it has no second thread")
    return running


def _load(mode, running, setting, *arguments):
    return Load(mode, setting.client_cores, "--port", running.port, "--sources", SOURCES[mode],
                "--deadline", setting.limit + setting.seconds + setting.warm_up, *arguments)


def check_drained(line, wanted, expected_sum):
    """Reads `drained N WALL CPU SUM`; raises Failed unless each connection was handed over exactly once."""
    match = re.fullmatch(r"drained (\d+) (\d+) (\d+) (\d+)", line)
    if not match:
        raise Failed(f"said '{line}' instead of what it drained")
    count, wall, cpu, total = map(int, match.groups())
    if count != wanted:
        raise Failed(f"drained {count} connections of {wanted}")
    if total != expected_sum:
        raise Failed(f"lost or doubled a connection: the sum of its peers is {total}, of the clients {expected_sum}")
    return wall, cpu


def _drain(server, load, setting):
    count = load.connections
    with _start(server, load, setting, "drain", count) as running, \
            _load("drain", running, setting, "--connections", count) as clients:
        expected = clients.report(setting.limit)
        if expected["connections"] != count:
            raise clients.failed(f"opened {expected['connections']} connections of {count}")
        running.write_line()
        line = running.line(setting.limit)
        try:
            wall, cpu = check_drained(line, count, expected["sum"])
        except Failed as error:
            raise running.failed(str(error)) from None
        running.end(setting.limit)
        clients.end(setting.limit)
    return {"wall_ns": wall / count, "cpu_ns": cpu / count}


def _talking(server, load, setting, mode, counted, *arguments):
    with _start(server, load, setting, mode) as running, \
            _load(mode, running, setting, "--cpu-of", running.pid, "--seconds", setting.seconds,
                  "--warm-up", setting.warm_up, *arguments) as clients:
        try:
            report = clients.report(setting.limit + setting.seconds + setting.warm_up)
        except Failed as error:
            # The server's own words, if it has any, say more than the client's.
            raise running.failed(f"failed under its load: {error}") from None
        running.end(setting.limit)
        clients.end(setting.limit)
    return {
        "rate": report["rate"],
        "server_cpu_ns": report["server_cpu_ns"] / report[counted],
        "busy": report["server_cpu_ns"] / (report["seconds"] * 1e9),
        "p50_ns": report["latency_ns"]["p50"],
        "p99_ns": report["latency_ns"]["p99"],
        "p99.9_ns": report["latency_ns"]["p99.9"],
        "max_ns": report["latency_ns"]["max"],
    }


def _storm(server, load, setting):
    return _talking(server, load, setting, "storm", "connections", "--in-flight", load.connections)


def _echo(server, load, setting):
    return _talking(server, load, setting, "echo", "messages", "--connections", load.connections,
                    "--active", load.active, "--size", load.size, *(["--rate", load.rate] if load.rate else []))


def _hold(server, load, setting):
    with _start(server, load, setting, "echo") as running:
        before = running.descriptors()
        with _load("hold", running, setting, "--connections", HOLD_FIRST) as first:
            first.report(setting.limit)
            _settle(running, before + HOLD_FIRST, setting)
            base = running.memory()
            with _load("hold", running, setting, "--connections", load.connections - HOLD_FIRST) as rest:
                rest.report(setting.limit)
                _settle(running, before + load.connections, setting)
                full = running.memory()
                running.end(setting.limit)
    return {"bytes": max(0, full - base) / (load.connections - HOLD_FIRST)}


def _settle(running, descriptors, setting):
    """Waits until the server has so many descriptors, and then until it does nothing any more."""
    until = time.monotonic() + setting.limit
    used = -1
    while running.descriptors() < descriptors or used != running.cpu_time():
        if time.monotonic() > until:
            raise running.failed(f"has {running.descriptors()} descriptors of {descriptors}, or is never idle")
        used = running.cpu_time()
        time.sleep(0.1)
