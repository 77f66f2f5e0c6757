# SPDX-License-Identifier: Apache-2.0
"""The servers with several event loops that benchmarks/loops compares, a row for each set of options."""

from dataclasses import dataclass, replace

from . import nginx, servers
from .building import CMAKE
from .loads import Metric
from .servers import KERNEL, Server

# Work is compared with the floor that spreads connections evenly. Of 64 that come in one go, one loop of the other
# floor may get one.
WORK_FLOOR = "raw-epoll-turns"
STUCK_FLOOR = "raw-epoll-loops"
FLOORS = (WORK_FLOOR, STUCK_FLOOR)

# Every second half of 400 ms.
STALL_PERIOD, STALL_TIME = 400, 200


@dataclass(frozen=True)
class Row:
    """One server with one set of options."""

    name: str  # in all tables
    server: Server
    about: str  # how connections reach loops
    arguments: tuple = ()
    stall_arguments: tuple = ()  # which loop hangs, if it is not the last
    loads: tuple = ("work", "stuck", "balance", "idle")
    is_nginx: bool = False
    listens_often: bool = False  # nginx: a listening socket for each worker

    @property
    def ours(self):
        return self.server.ours


@dataclass(frozen=True)
class LoopLoad:
    """One load; the first word of its name is its kind."""

    name: str
    title: str
    loops: int = 2

    @property
    def kind(self):
        return self.name.partition("-")[0]


WORK_1 = LoopLoad("work-1", "work, 1 loop", loops=1)
WORK_2 = LoopLoad("work-2", "work, 2 loops")
STUCK = LoopLoad("stuck", "stuck")
BALANCE = LoopLoad("balance", "balance")
IDLE = LoopLoad("idle", "idle")
LOADS = (WORK_1, WORK_2, STUCK, BALANCE, IDLE)
KINDS = ("work", "stuck", "balance", "idle")

P50 = Metric("p50_ns", "p50, ms", unit=1e6)
P99 = Metric("p99_ns", "p99, ms", unit=1e6)
MOST = Metric("max_ns", "max, ms", unit=1e6)


def known(name, **changes):
    """A server that benchmarks/run compares, too."""
    return replace(servers.by_name()[name], **changes)


def floor(name):
    return Server(name, "epoll, accept4", CMAKE, KERNEL, packages="gcc pkg-config libevent-dev")


NGINX = Server("nginx", "a worker process each", nginx.BUILDER, nginx.version,
               packages="nginx-light libnginx-mod-stream")

ROWS = (
    Row(STUCK_FLOOR, floor(STUCK_FLOOR), "each loop watches the one listening socket"),
    Row(WORK_FLOOR, floor(WORK_FLOOR), "the first loop accepts, all get them in turn"),
    Row("ours-callback", known("ours-callback"), "the first loop accepts, the loop with the fewest gets them"),
    Row("ours-async", known("ours-async"), "the first loop accepts, the loop with the fewest gets them"),
    Row("ours-callback-own-acceptor", known("ours-callback"),
        "a thread of its own accepts, the loop with the fewest gets them", ("--own-acceptor",), ("--stall-loop", 0)),
    Row("ours-async-shared-queue", known("ours-async"), "each loop watches the one listening socket",
        ("--shared-queue",)),
    Row("ours-async-shards", known("ours-async"), "a listening socket each, by SO_REUSEPORT", ("--shards",)),
    Row("libuv", known("libuv"), "a listening socket each, by SO_REUSEPORT"),
    Row("nio", known("nio"), "the first loop accepts, all get them in turn"),
    # One epoll serves all their threads, so there are no counts of loops.
    Row("go", known("go"), "no loops: goroutines on threads", loads=("work", "stuck", "idle")),
    Row("tokio", known("tokio"), "no loops: tasks on threads, which take tasks from each other",
        loads=("work", "stuck", "idle")),
    # It greets instead of answering, so there is no work, and it closes after that.
    Row("nginx", NGINX, "each worker process watches the one listening socket", loads=("stuck",), is_nginx=True),
    Row("nginx-reuseport", NGINX, "a listening socket for each worker process, by SO_REUSEPORT", loads=("stuck",),
        is_nginx=True, listens_often=True),
)


def by_name():
    return {row.name: row for row in ROWS}
