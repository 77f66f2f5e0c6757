# SPDX-License-Identifier: Apache-2.0
"""The processes of a measurement, each bounded in time and ended in any case."""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time

from .places import LOAD_GENERATOR


class Failed(Exception):
    """A measurement that has no figures: what went wrong, for a person to read."""


_running = set()
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


def end_all():
    """Ends what still runs: an interrupt may come when no variable holds a process yet."""
    for process in list(_running):
        process.__exit__()


class Process:
    """A child with pipes, whose lines are waited for only so long."""

    def __init__(self, what, command, cores, environment=None, prepare=lambda: None):
        """prepare() runs in the child before its program does."""
        self.what = what
        self._pending = b""
        self._errors = tempfile.TemporaryFile()

        def begin():
            os.sched_setaffinity(0, cores)
            prepare()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)

        # An interrupt in between would leave an unknown child.
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            self._child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                env={**os.environ, **(environment or {})},
                # Ctrl-C is for the runner, which ends its children in order.
                start_new_session=True, preexec_fn=begin)
            _running.add(self)
        except OSError as error:
            self._errors.close()
            raise Failed(f"{what} cannot be started: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _running.discard(self)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            try:
                stream.close()
            except OSError:
                pass

    @property
    def pid(self):
        return self._child.pid

    def has_ended(self):
        return self._child.poll() is not None

    def terminate(self):
        """Asks it to end by a signal, if it does not look at its standard input."""
        self._child.terminate()

    def line(self, seconds):
        """The next line of its output, without its newline."""
        until = time.monotonic() + seconds
        while b"\n" not in self._pending:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._child.stdout], [], [], left)[0]:
                raise self.failed(f"said nothing for {seconds:g} s")
            data = os.read(self._child.stdout.fileno(), 65536)
            if not data:
                raise self.failed(self._ending())
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace")

    def rest(self, seconds):
        """All its output to the end, which must be a good one."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._child.stdout], [], [], left)[0]:
                raise self.failed(f"was not done after {seconds:g} s")
            data = os.read(self._child.stdout.fileno(), 65536)
            if not data:
                break
            self._pending += data
        self.end(max(0.1, until - time.monotonic()))
        text, self._pending = self._pending.decode(errors="replace"), b""
        return text

    def write_line(self, text="go"):
        try:
            self._child.stdin.write(text.encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise self.failed(self._ending()) from error

    def end(self, seconds):
        """Ends its standard input, on which it must end, well."""
        try:
            self._child.stdin.close()
        except OSError:
            pass
        try:
            status = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failed(f"still ran {seconds:g} s after its input had ended") from None
        if status != 0:
            raise self.failed(self._ending())

    def failed(self, how):
        """The failure to raise, with what the process said about it."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 2000))
        said = self._errors.read().decode(errors="replace").strip()
        return Failed(f"{self.what} {how}" + (f"; its standard error:\n{said}" if said else ""))

    def _ending(self):
        try:
            status = self._child.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with {status}"


class RunningServer(Process):
    """A server that has said its port."""

    def __init__(self, server, arguments, cores, limit, preloaded=None):
        environment = dict(server.environment)
        if preloaded:
            # By its folder, as LD_PRELOAD takes no names with a space in them.
            environment |= {"LD_PRELOAD": preloaded.name, "LD_LIBRARY_PATH": str(preloaded.parent)}
        super().__init__(server.name, [*server.start_command(), *arguments], cores, environment)
        try:
            word, _, port = self.line(limit).partition(" ")
            if word != "port" or not port.isdecimal():
                raise self.failed(f"said '{word} {port}' instead of its port")
            self.port = int(port)
        except BaseException:
            self.__exit__()
            raise

    def descriptors(self):
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def memory(self):
        """Its resident memory in bytes, counted page by page: the counters of /proc/PID/status lag behind."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as table:
            for row in table:
                if row.startswith("Rss:"):
                    return int(row.split()[1]) * 1024
        raise self.failed("has no memory")

    def wakes(self):
        """How often its threads have gone to sleep by themselves, each after having been woken."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/status", encoding="utf-8", errors="replace") as status:
                total += sum(int(row.split()[1]) for row in status if row.startswith("voluntary_ctxt_switches:"))
        return total

    def cpu_time(self):
        """What all its threads have used, those that have ended too, in nanoseconds."""
        return _cpu_time(self.pid)


def _cpu_time(pid):
    # The clock of a process, as clock_getcpuclockid(3) makes its number.
    return time.clock_gettime_ns(~pid << 3 | 2)


def _children(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
            yield from map(int, children.read().split())


def cpu_time_of_all(pid):
    """What a process and its children have used, in nanoseconds. Those that have ended do not count."""
    total = _cpu_time(pid)
    for child in _children(pid):
        # It may end while it is looked at.
        with contextlib.suppress(OSError):
            total += cpu_time_of_all(child)
    return total


class Load(Process):
    """A load generator at work."""

    def __init__(self, mode, cores, *arguments, program=LOAD_GENERATOR):
        super().__init__("the load generator", [program, mode, *arguments], cores)

    def report(self, seconds):
        """Its line of JSON."""
        line = self.line(seconds)
        try:
            return json.loads(line)
        except ValueError:
            raise self.failed(f"said '{line}', which is not JSON") from None
