# SPDX-License-Identifier: Apache-2.0
"""benchmarks/run as a program: its end, however it comes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from harness import command_line, tables
from harness.places import BENCHMARKS
from tests import WRONG_SERVER

LIMIT = 120

# benchmarks/run with a wrong server in its table.
PROGRAM = """
import pathlib, sys
from harness import command_line, servers
wrong = servers.Server("wrong", "", None, "1", command=(sys.executable, pathlib.Path(sys.argv[1]), sys.argv[2]))
servers.SERVERS += (wrong,)
sys.exit(command_line.main(["--no-build", "--servers", "wrong", "--loads", "drain-1000", "--rounds", "1",
                            "--output", sys.argv[3]]))
"""


def start(wrong, output):
    # A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
    return subprocess.Popen([sys.executable, "-c", PROGRAM, WRONG_SERVER, wrong, output], cwd=BENCHMARKS,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def is_wrong_server(pid):
    """By its first argument: a child that is not yet its program has the command line of the run, which names it, too."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [os.fsencode(WRONG_SERVER)]
    except OSError:
        return False


class RunTests(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.output = Path(self._folder.name) / "results.json"

    def test_a_server_that_loses_a_connection_fails_the_run(self):
        with start("drops-one", self.output) as run:
            printed, errors = run.communicate(timeout=LIMIT)
        self.assertEqual(run.returncode, 1)
        self.assertIn("lost or doubled a connection", errors)
        measured = json.loads(self.output.read_text(encoding="utf-8"))["measurements"]
        self.assertEqual({m["server"]: "failure" in m for m in measured},
                         {"raw-epoll": False, "raw-epoll-again": False, "wrong": True})
        self.assertIn("raw-epoll-again", printed)

    def test_a_right_server_does_not(self):
        with start("nothing", self.output) as run:
            printed, errors = run.communicate(timeout=LIMIT)
        self.assertEqual(run.returncode, 0, errors)
        self.assertIn("wrong", printed)

    def test_an_interrupt_ends_everything_that_was_started(self):
        with start("hangs", self.output) as run:
            running = []
            until = time.monotonic() + LIMIT
            # The hanging server, when its clients are there too.
            while not any(is_wrong_server(pid) for pid in running) or len(running) < 2:
                self.assertLess(time.monotonic(), until, "it never came to the wrong server")
                running = children(run.pid)
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=LIMIT)
        self.assertEqual(run.returncode, 130, errors)
        self.assertIn("interrupted", errors)
        self.assertNotIn("Traceback", errors)
        for pid in running:
            self.assertFalse(os.path.exists(f"/proc/{pid}"), "a child outlived the run")


class OptionTests(unittest.TestCase):
    def test_names_that_do_not_exist_are_refused(self):
        for arguments in (["--servers", "apache"], ["--loads", "drain-7"], ["--loads", ","], ["--rounds", "0"],
                          ["--seconds", "nan"], ["--minutes", "-1"]):
            with self.subTest(arguments), self.assertRaises(SystemExit), tempfile.TemporaryFile("w") as discarded:
                saved, sys.stderr = sys.stderr, discarded
                try:
                    command_line.parse(arguments)
                finally:
                    sys.stderr = saved

    def test_a_noisy_machine_is_warned_of(self):
        measurements = [{"load": "drain-1000", "server": server, "round": number, "figures": {"wall_ns": value}}
                        for number in (1, 2, 3) for server, value in (("raw-epoll", 100), ("raw-epoll-again", 106))]
        self.assertEqual(tables.noisy(measurements), ["drain, N = 1,000"])
        measurements[1]["figures"]["wall_ns"] = measurements[3]["figures"]["wall_ns"] = 101
        self.assertEqual(tables.noisy(measurements), [])

    def test_the_floor_is_always_there_and_comes_first_and_last(self):
        chosen = command_line.chosen_servers(command_line.parse(["--servers", "node"]))
        self.assertEqual([server.name for server in chosen], ["raw-epoll", "node", "raw-epoll-again"])
