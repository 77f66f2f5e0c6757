# SPDX-License-Identifier: Apache-2.0
"""Servers with several event loops: that they do right what is measured, while they burn and hang."""

import subprocess
import unittest

from harness.places import PROGRAMS
from harness.processes import Load, RunningServer
from harness.servers import Server
from tests import cores

LIMIT = 60
FLOORS = ("raw-epoll-loops", "raw-epoll-turns")
STALLS = ("--stall-period", 40, "--stall-time", 20)


def servers():
    """The floors, and the other server in C where its library is installed."""
    return [*FLOORS, *(["libuv"] if (PROGRAMS / "libuv").exists() else [])]


def running(name, *arguments):
    server = Server(name, "", None, "1", command=(PROGRAMS / name,))
    return RunningServer(server, ["echo", *map(str, arguments)], cores(), LIMIT)


def load(server, mode, *arguments):
    with Load(mode, cores(), "--port", server.port, *arguments) as clients:
        return clients.report(LIMIT)


class LoopTests(unittest.TestCase):
    def test_each_loop_has_a_thread(self):
        for name in servers():
            for loops in (1, 3):
                with self.subTest(name), running(name, "--loops", loops) as server:
                    self.assertEqual(server.threads(), loops)
                    server.end(LIMIT)

    def test_work_changes_no_answer(self):
        for name in servers():
            with self.subTest(name), running(name, "--loops", 2, "--burn-microseconds", 50) as server:
                report = load(server, "echo", "--connections", 16, "--seconds", 0.2)
                self.assertGreater(report["messages"], 0)
                server.end(LIMIT)

    def test_connections_are_answered_whichever_loop_hangs(self):
        for name in servers():
            for loop in (0, 1):
                with self.subTest(name), running(name, "--loops", 2, *STALLS, "--stall-loop", loop) as server:
                    report = load(server, "stuck", "--rate", 500, "--seconds", 0.4)
                    self.assertEqual((report["connections"], report["failed"]), (200, 0))
                    server.end(LIMIT)

    def test_wrong_options_are_refused(self):
        for name in servers():
            with self.subTest(name):
                for options in ("--loops 0", "--loops x", "--loops 1025", "--loops 2 --stall-loop 2", "--stall-time 5",
                                "--stall-period 5", "--stall-period 5 --stall-time 5", "--burn-rounds -1", "--burn"):
                    done = subprocess.run([PROGRAMS / name, "echo", *options.split()], input="", capture_output=True,
                                          text=True, timeout=LIMIT, check=False)
                    self.assertEqual((done.returncode, done.stdout), (64, ""), options)
                    self.assertIn("usage:", done.stderr)

    def test_microseconds_are_reported_as_rounds(self):
        done = subprocess.run([PROGRAMS / FLOORS[0], "echo", "--burn-microseconds", "300"], input="",
                              capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"^300 us are (\d+) rounds here: --burn-rounds \1\n$")
