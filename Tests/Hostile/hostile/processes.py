# SPDX-License-Identifier: Apache-2.0
"""The servers under attack, each bounded in time and ended in any case."""

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .network import run
from .report import Failed

LONGEST_ANSWER = 30


class Server:
    """A child that says its port in its first line."""

    def __init__(self, command, pass_fds=(), prepare=None, environment=None, before=()):
        """`before` is a command that runs this one."""
        self.command = [str(word) for word in [*before, *command]]
        self._pending = b""
        self._errors = tempfile.TemporaryFile()
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                                      pass_fds=pass_fds, preexec_fn=prepare, start_new_session=True,
                                      env={**os.environ, **(environment or {})})
        try:
            line = self.line()
            match = re.search(r"port (\d+)", line)
            if not match:
                raise Failed(f"{self.command[0]} said '{line}' instead of its port; {self.errors()}")
            self.port = int(match.group(1))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self._errors):
            try:
                stream.close()
            except OSError:
                pass

    @property
    def pid(self):
        return self.child.pid

    def line(self, seconds=LONGEST_ANSWER):
        until = time.monotonic() + seconds
        while b"\n" not in self._pending:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise Failed(f"{self.command[0]} said nothing for {seconds} s")
            data = os.read(self.child.stdout.fileno(), 65536)
            if not data:
                raise Failed(f"{self.command[0]} ended with {self.child.wait(5)}: {self.errors()}")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def errors(self):
        """What it has written to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def judge_silence(self, figures):
        figures.check(f"it said on standard error: {self.errors()}", self.errors() == "")

    def wait_until(self, what, condition, seconds=20, step=0.002):
        """Returns how long it took, in seconds."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                raise Failed(f"not within {seconds} s: {what}")
            time.sleep(step)
        return time.monotonic() - start

    def connections(self):
        """How many the kernel knows, on the server's side."""
        return len(run("ss", "-tnH", "state", "connected", "sport", "=", f":{self.port}").splitlines())

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        total = 0
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
        return total / 1e9

    def voluntary_switches(self):
        """How often its threads went to sleep: at least once for each wake-up."""
        total = 0
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            status = (thread / "status").read_text(encoding="ascii")
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M).group(1))
        return total

    def memory(self):
        """Resident bytes."""
        table = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        return int(re.search(r"^Rss:\s+(\d+)", table, re.M).group(1)) * 1024

    def stop(self, seconds=20):
        """Ends it as Ctrl-C does; returns how long that took."""
        start = time.monotonic()
        self.child.send_signal(signal.SIGINT)
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.command[0]} still ran {seconds} s after SIGINT") from None
        if status != 0:
            raise Failed(f"{self.command[0]} ended with {status}: {self.errors()}")
        return time.monotonic() - start

    def served(self):
        """How many connections EchoServer says that it served, when it has ended."""
        match = re.search(r"connections served: (\d+)", self.line())
        return int(match.group(1))


class Subject(Server):
    """The C server that obeys commands."""

    def __init__(self, figures, service, *arguments, **options):
        super().__init__([figures.programs.subject, service, *arguments], **options)

    def tell(self, word, *numbers, seconds=LONGEST_ANSWER):
        """A command; its answer as a dictionary."""
        line = " ".join([word, *map(str, numbers)]) + "\n"
        try:
            self.child.stdin.write(line.encode())
            self.child.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"the subject ended with {self.child.wait(5)}: {self.errors()}") from None
        return json.loads(self.line(seconds))

    def statistics(self):
        return self.tell("statistics")

    def accepted(self, count, seconds=30):
        """Waits until it has accepted so many; returns how long that took."""
        return self.wait_until(f"{count} accepted", lambda: self.statistics()["accepted"] >= count, seconds)

    def judge(self, figures, accepted):
        """What holds whatever was done to it; exactly once first of all."""
        now = self.statistics()
        figures.add("accepted", now["accepted"], exactly=accepted)
        figures.add("accepted - delivered - pending - discarded - shed - in the preface, or ended there",
                    now["accepted"] - now["delivered"] - now["pending"] - now["discarded"] - now["shed"]
                    - now["in_preface"] - now["ended_in_preface"], exactly=0)
        figures.check("it closed a descriptor that was not open", now["bad_closes"] == 0)
        self.judge_silence(figures)
        return now


class EchoServer(Server):
    """The Swift example, without its limits unless a scenario asks for them."""

    UNLIMITED = ["--max-connections", "1000000", "--first-byte", "3600", "--idle", "3600"]

    def __init__(self, figures, *arguments, **options):
        super().__init__([figures.programs.echo_server, "--address", "127.0.0.1", "--port", "0", *self.UNLIMITED,
                          *arguments], **options)
