# SPDX-License-Identifier: Apache-2.0
"""Counts what a server does for a connection or a message: what a machine's speed and its other work cannot change.

Each number is the difference between two runs that differ in nothing but how many connections or messages there were:
what a program does once is in both.
"""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from .measuring import check_drained
from .places import ALLOCATION_COUNTER, PROFILES, STOPPED_TIMERS
from .processes import Failed, Load, RunningServer

BATCH = 64  # connections that are accepted in one go
FEW, MANY = 960, 1920  # multiples of it, and of the 30 that may be pending for tasks
CONNECTIONS, SIZE = 16, 64  # of the echo
PROXY_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"  # before its addresses
LIMIT = 60  # seconds for any one answer of a server under valgrind
EPOLL_WAITS = ("epoll_pwait", "epoll_pwait2")  # which libevent calls in other versions

# The heap grows once, so that allocating costs no system calls, hash tables are the same in each run, and nothing is
# done once a second. Libraries are found by their folder, as LD_PRELOAD takes no names with a space in them.
ENVIRONMENT = {
    "LD_LIBRARY_PATH": str(STOPPED_TIMERS.parent),
    "LD_PRELOAD": STOPPED_TIMERS.name,
    "GLIBC_TUNABLES": "glibc.malloc.top_pad=67108864:glibc.malloc.mmap_threshold=67108864",
    "SWIFT_DETERMINISTIC_HASHING": "1",
}


# MARK: Loads


def drain(running, connections):
    """The server takes connections that wait in the kernel's queue."""
    with _clients("drain", running, connections) as clients:
        expected = clients.report(LIMIT)
        running.write_line()
        check_drained(running.line(LIMIT), connections, expected["sum"])
        wait_until_idle(running)
        running.end(LIMIT)


def drain_behind_proxy(running, connections):
    """The server takes connections that wait in the kernel's queue, and that begin with a PROXY header of version 2."""
    with contextlib.ExitStack() as opened:
        expected = 0
        for number in range(connections):
            header = PROXY_HEADER + struct.pack("!4B4BHH", 127, 0, 0, 1, 127, 0, 0, 1, 1 + number, 443)
            opened.enter_context(connect(running)).sendall(header)
            expected += (1 << 16) + 1 + number
        running.write_line()
        check_drained(running.line(LIMIT), connections, expected)
        wait_until_idle(running)
        running.end(LIMIT)


def echo(running, messages):
    """Connections take turns to send a message and wait for it, each when the server has nothing else to do: how many
    it finds ready at once, and whether it looks for a message before that is there, are then no matter of time."""
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(CONNECTIONS):
            connections.append(opened.enter_context(connect(running)))
        for number in range(messages):
            wait_until_idle(running)
            exchange(running, connections[number % CONNECTIONS], number)
        wait_until_idle(running)
        running.end(LIMIT)


def idle(running, connections):
    """Connections that stay, each opened when the server has nothing else to do."""
    with contextlib.ExitStack() as opened:
        for _ in range(connections):
            opened.enter_context(connect(running))
        wait_until_idle(running)
        running.end(LIMIT)


def conversation(running, connections):
    """Connections one after the other, of one message and its answer; the client ends them."""
    for number in range(connections):
        with connect(running) as connection:
            wait_until_idle(running)
            exchange(running, connection, number)
            wait_until_idle(running)
    wait_until_idle(running)
    running.end(LIMIT)


def answer(running, connections):
    """The same, and the server ends them with its answer."""
    for number in range(connections):
        with connect(running) as connection:
            wait_until_idle(running)
            exchange(running, connection, number)
            if connection.recv(1):
                raise running.failed("sent more than an answer")
            wait_until_idle(running)
    wait_until_idle(running)
    running.end(LIMIT)


def connect(running):
    wait_until_idle(running)
    return socket.create_connection(("127.0.0.1", running.port), LIMIT)


def _clients(mode, running, connections):
    return Load(mode, os.sched_getaffinity(0), "--port", running.port, "--connections", connections)


def wait_until_idle(running):
    """Until it is back in its loop and sleeps there. What woke it has happened before, in this program."""
    until = time.monotonic() + LIMIT
    while not _sleeps(running.pid):
        if time.monotonic() > until:
            raise running.failed("is never idle")
        time.sleep(0)


def _sleeps(process):
    """Whether all threads of a process and of its children do: strace has the server as a child. One that has ended
    sleeps for good; its client will notice."""
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            # The name before it may hold anything, even spaces.
            state = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            children = (task / "children").read_text(encoding="ascii").split()
            if state not in "SZX" or not all(_sleeps(child) for child in children):
                return False
    except (FileNotFoundError, ProcessLookupError):
        pass
    return True


def exchange(running, connection, number):
    """Sends a message, and waits until it is back."""
    message = f"{number:0{SIZE - 1}}\n".encode("ascii")
    back = b""
    try:
        connection.sendall(message)
        while len(back) < SIZE:
            piece = connection.recv(SIZE - len(back))
            if not piece:
                break
            back += piece
    except OSError as error:
        raise running.failed(f"did not answer message {number}: {error}") from error
    if back != message:
        raise running.failed(f"sent back something else than message {number}")


@dataclass(frozen=True)
class CountedLoad:
    name: str
    run: object
    says_how_many: bool = False  # to the server, beforehand
    mode: str = ""  # the server's argument, if it is not the name
    options: tuple = ()  # its last arguments
    few: int = FEW
    many: int = MANY
    floor: object = None  # a server: what is counted is what others hold beyond it, and nothing else
    floor_options: tuple = ()

    def arguments(self, number):
        return [self.mode or self.name, *([number] if self.says_how_many else ()), *self.options]


AS_WRITTEN = ("--as-written",)  # what a program's author writes, and not the fastest that there is
LOADS = (
    CountedLoad("drain", drain, says_how_many=True),
    # Two batches that meet in the other loop cost it one turn. In the first run there is one batch alone: chance can
    # make the difference smaller, and no larger.
    CountedLoad("hand-off", drain, says_how_many=True, mode="drain", options=("--own-acceptor",), few=BATCH),
    CountedLoad("drain-by-source", drain, says_how_many=True, mode="drain", options=("--source-limits",)),
    CountedLoad("drain-behind-proxy", drain_behind_proxy, says_how_many=True, mode="drain",
                options=("--proxy-headers",)),
    CountedLoad("echo", echo),
    CountedLoad("echo-as-written", echo, mode="echo", options=AS_WRITTEN),
    CountedLoad("idle", idle, mode="echo"),
    CountedLoad("idle-with-policy", idle, mode="echo", options=("--policy", "3600")),
    CountedLoad("idle-as-written", idle, mode="echo", options=AS_WRITTEN),
    CountedLoad("conversation-as-written", conversation, mode="echo", options=AS_WRITTEN),
    CountedLoad("answer-as-written", answer, mode="echo", options=(*AS_WRITTEN, "--once")),
)


# MARK: Counters


class SystemCalls:
    """Of all threads, by name, counted by strace."""

    what = "system calls"
    tool = "strace"
    trial = ("strace", "-c", "-o", "/dev/null", "true")

    def start(self, program, folder):
        self._output = folder / "calls"
        return ["strace", "-f", "-c", "-U", "name,calls", "-o", self._output, program], {}

    def read(self):
        calls = Counter()
        for line in self._output.read_text(encoding="ascii").splitlines():
            fields = line.split()
            if len(fields) == 2 and fields[1].isdecimal() and fields[0] != "total":
                calls["epoll_wait" if fields[0] in EPOLL_WAITS else fields[0]] += int(fields[1])
        return calls


class Allocations:
    """Calls of malloc and its relatives, what they were asked for, and what is not freed, with the allocator's own."""

    what = "allocations"
    tool = None

    def start(self, program, folder):
        self._output = folder / "allocations"
        self._output.touch()
        return [program], {"ALLOCATION_COUNTS": str(self._output),
                           "LD_PRELOAD": f"{ALLOCATION_COUNTER.name}:{STOPPED_TIMERS.name}"}

    def read(self):
        data = self._output.read_bytes()
        return Counter(dict(zip(("allocations", "bytes", "held"), struct.unpack("=QQq", data)))) if data else Counter()


class Instructions:
    """Of the program and its libraries, not of the kernel, counted by callgrind."""

    what = "instructions"
    tool = "valgrind"
    trial = ("valgrind", "--tool=none", "true")

    def start(self, program, folder):
        # valgrind before 3.20 cannot read Swift's debug information. The name stays, as programs look at their own.
        stripped = folder / program.name
        done = subprocess.run(["strip", "-g", "-o", stripped, program], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"strip failed: {done.stderr.strip()}")
        self._output = folder / "profile"
        return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self._output}", stripped], {}

    def read(self):
        for line in self._output.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, number = line.partition(": ")
            if name == "summary":
                return Counter(instructions=int(number.split()[0]))
        return Counter()


COUNTERS = (SystemCalls, Allocations, Instructions)


def why_not(counter):
    """Why a counter cannot count here; None if it can."""
    if counter.tool is None:
        return None
    if not shutil.which(counter.tool):
        return f"{counter.tool} is not installed"
    done = subprocess.run(counter.trial, capture_output=True, text=True, timeout=LIMIT, check=False)
    return None if done.returncode == 0 else f"{counter.tool} does not work here: {done.stderr.strip()}"


# MARK: Counting


def count(server, load, counters):
    """What one connection or message costs, as Fractions by name. Raises Failed."""
    if load.floor:
        floor = replace(load, options=load.options + load.floor_options)
        ours, bare = (_count(of, what, (Allocations,))["held"] for of, what in ((server, load), (load.floor, floor)))
        return {"held": ours - bare}
    return _count(server, load, counters)


def _count(server, load, counters):
    found = {}
    for counter in counters:
        few, many = (_count_once(server, load, counter(), number) for number in (load.few, load.many))
        found |= {name: Fraction(many[name] - few[name], load.many - load.few) for name in few | many}
    return found


def _count_once(server, load, counter, number):
    with tempfile.TemporaryDirectory() as folder:
        program = Path(server.start_command()[0])
        command, environment = counter.start(program, Path(folder))
        counted = replace(server, command=tuple(command), environment={**ENVIRONMENT, **environment})
        with RunningServer(counted, load.arguments(number), os.sched_getaffinity(0), LIMIT) as running:
            load.run(running, number)
            found = counter.read()
        if not found:
            raise Failed(f"{counter.what} of {server.name} were not counted")
        _keep_profile(Path(folder) / "profile", f"{server.name}-{load.name}-{number}.callgrind")
        return found


def _keep_profile(profile, name):
    """callgrind_annotate shows where the instructions are."""
    if profile.exists():
        PROFILES.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(profile, PROFILES / name)
