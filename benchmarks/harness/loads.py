# SPDX-License-Identifier: Apache-2.0
"""The loads that servers are put under, a row each. README.md says what each kind measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure of a measurement, and how it is shown."""

    name: str  # in the results
    title: str
    unit: float = 1  # of the title, in that of the results


WALL = Metric("wall_ns", "wall, ns a connection")
CPU = Metric("cpu_ns", "CPU, ns a connection")
SERVER_CPU = Metric("server_cpu_ns", "server CPU, ns each")
RATE = Metric("rate", "a second")
BUSY = Metric("busy", "server busy, %", unit=0.01)
P50 = Metric("p50_ns", "p50, µs", unit=1000)
P99 = Metric("p99_ns", "p99, µs", unit=1000)
P999 = Metric("p99.9_ns", "p99.9, µs", unit=1000)
MEMORY = Metric("bytes", "bytes a connection")


@dataclass(frozen=True)
class Load:
    """One load. The first metric is the one that it is for; ratios to the floor are shown for those in `ratios`."""

    name: str
    title: str
    kind: str  # drain, storm, echo, hold
    metrics: tuple
    ratios: tuple
    rounds: int
    connections: int  # in storm: at once
    active: int = 0
    size: int = 64
    rate: int = 0  # messages a second, in an open loop
    sleeping_thread: bool = False  # gives the server one
    arguments: tuple = ()  # for servers that understand --loops; the load is then for them and the floor alone
    quick: bool = False
    note: str = ""  # what must be known to read its table


DRAIN_NOTE = ("Connections that wait in the kernel's queue are handed to the program with their peer's address. Where "
              "wall exceeds CPU, the process slept in `accept4` while its table of descriptors grew.")
STORM_NOTE = ("The rate is the load generator's, which needs longer for a connection than a good server does; the "
              "server's CPU time is the server's.")


def drain(connections, rounds, quick=False):
    return Load(f"drain-{connections}", f"drain, N = {connections:,}", "drain", (WALL, CPU), (WALL, CPU), rounds,
                connections=connections, quick=quick, note=DRAIN_NOTE)


def echo(connections, size, active=0, rounds=5, quick=False):
    size_text = f"{size // 1024} KiB" if size >= 1024 else f"{size} B"
    who = f"{active:,} of {connections:,}" if active else f"{connections:,}"
    name = f"echo-{size}x{active}of{connections}" if active else f"echo-{size}x{connections}"
    return Load(name, f"echo {size_text}, {who} connection{'s' if connections > 1 else ''}", "echo",
                (RATE, SERVER_CPU, BUSY, P50, P99), (RATE, SERVER_CPU), rounds,
                connections=connections, active=active or connections, size=size, quick=quick)


RATE_NOTE = ("The same number of messages a second for all, each due at its own time; the latency counts from then, "
             "whether or not the connection was free.")
STEADY = Load("echo-64x64-steady", "echo 64 B, 64 connections, 20,000 messages a second", "echo",
              (P99, P50, P999, SERVER_CPU, BUSY), (SERVER_CPU,), 3,
              connections=64, active=64, rate=20000, note=RATE_NOTE)

STORM = Load("storm", "storm, 64 in flight", "storm", (SERVER_CPU, RATE, BUSY, P50, P99), (SERVER_CPU, RATE), 5,
             connections=64, quick=True, note=STORM_NOTE)

LOADS = (
    drain(1000, 7, quick=True),
    drain(10000, 5, quick=True),
    drain(15000, 5),
    Load("drain-10000-thread", "drain, N = 10,000, beside a sleeping thread", "drain", (WALL, CPU), (WALL, CPU), 5,
         connections=10000, sleeping_thread=True, note=DRAIN_NOTE),
    STORM,
    echo(1, 64),
    echo(64, 64, quick=True),
    echo(1000, 64),
    echo(64, 16384, quick=True),
    echo(1000, 16384),
    STEADY,
    echo(1000, 64, active=64),
    echo(10000, 64, active=64),
    Load("hold", "hold, idle connections", "hold", (MEMORY,), (), 2, connections=10000, quick=True),
    Load("storm-2-loops", "storm, 2 loops", "storm", (SERVER_CPU, RATE, BUSY, P50, P99), (SERVER_CPU, RATE), 5,
         connections=64, arguments=("--loops", "2")),
    Load("echo-64x64-2-loops", "echo 64 B, 64 connections, 2 loops", "echo", (RATE, SERVER_CPU, BUSY, P50, P99),
         (RATE, SERVER_CPU), 5, connections=64, active=64, arguments=("--loops", "2")),
)


def by_name():
    return {load.name: load for load in LOADS}
