# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of steps, several beside each other, and ends what an interrupted one has started."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

LIMIT = 1800  # seconds for one step; those that wait for something have limits of their own


class Runner:
    def __init__(self, repository, folder):
        self.repository = repository
        self.folder = folder  # of reports, and of what each step has printed
        self.children = set()
        self.is_interrupted = False
        self.lock = threading.Lock()

    def run(self, step):
        """Runs a step's command; returns its status and what it printed, or None when all are to end."""
        output = self.folder / f"{step.name}.log"
        with output.open("wb") as log:
            with self.lock:
                if self.is_interrupted:
                    return None
                child = subprocess.Popen(step.command, cwd=self.repository, stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=subprocess.STDOUT, start_new_session=True,
                                         env={**os.environ, "TEST_REPORT": str(self.folder / f"{step.name}.xml")})
                self.children.add(child)
            try:
                status = child.wait(LIMIT)
            except subprocess.TimeoutExpired:
                status = 124
            end_session(child.pid)
            child.wait()
            self.children.discard(child)
        text = output.read_text(encoding="utf-8", errors="replace")
        if not self.is_interrupted:
            output.unlink()
        return status, text + (f"\nDid not end in {LIMIT} s.\n" if status == 124 else "")

    def interrupt(self):
        with self.lock:
            self.is_interrupted = True
        for child in [*self.children]:
            end_session(child.pid)

    def run_all(self, groups, began, ended, shared=()):
        """Runs the steps of each group in their order, the groups beside each other; a group that is done goes on with
        what is left of `shared`. Calls began(step) and ended(step, status, text, seconds), one at a time."""
        telling = threading.Lock()
        left = iter(shared)

        def steps_of(group):
            yield from group
            while True:
                with telling:
                    step = next(left, None)
                if step is None:
                    return
                yield step

        def run_group(group):
            for step in steps_of(group):
                with telling:
                    began(step)
                begin = time.monotonic()
                result = self.run(step)
                if result is None or self.is_interrupted:
                    return
                with telling:
                    ended(step, *result, time.monotonic() - begin)

        threads = [threading.Thread(target=run_group, args=(steps,)) for steps in groups]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self.interrupt()
            for thread in threads:
                thread.join()
            raise


def members(session):
    """The processes of a session: SwiftPM gives the tests a process group of their own."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            yield int(path.parent.name)


def end_session(session):
    """Ends what a step that was interrupted, or took too long, has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 10
        for process in [*members(session)]:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass
        while [*members(session)] and time.monotonic() < deadline:
            time.sleep(0.05)
