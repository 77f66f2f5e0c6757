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


class TokioTests(unittest.TestCase):
    """Its options are those of the servers in C, but for the loop that hangs: it has none."""

    def setUp(self):
        if not (PROGRAMS / "tokio").exists():
            self.skipTest("the server with tokio is not built")

    def test_the_multi_thread_runtime_has_its_workers_beside_the_main_thread(self):
        for options, threads in (((), 1), (("--loops", 1), 2), (("--loops", 3), 4)):
            with self.subTest(options), running("tokio", *options) as server:
                self.assertEqual(server.threads(), threads)
                server.end(LIMIT)

    def test_work_changes_no_answer(self):
        for options in ((), ("--loops", 2)):
            with self.subTest(options), running("tokio", *options, "--burn-rounds", 10000) as server:
                report = load(server, "echo", "--connections", 16, "--seconds", 0.2)
                self.assertGreater(report["messages"], 0)
                server.end(LIMIT)

    def test_connections_are_answered_while_a_thread_hangs(self):
        for loops in (1, 2):
            with self.subTest(loops), running("tokio", "--loops", loops, *STALLS) as server:
                report = load(server, "stuck", "--rate", 500, "--seconds", 0.4)
                self.assertEqual((report["connections"], report["failed"]), (200, 0))
                server.end(LIMIT)

    def test_a_stall_blocks_the_only_thread(self):
        # A stall of 0.2 s begins in the load's second: what is due then waits for its end.
        with running("tokio", "--loops", 1, "--stall-period", 201, "--stall-time", 200) as server:
            report = load(server, "stuck", "--rate", 500, "--seconds", 1)
            self.assertGreaterEqual(report["latency_ns"]["max"], 100_000_000)
            server.end(LIMIT)

    def test_wrong_options_are_refused(self):
        refuse_wrong_options(self, "tokio", "--stall-loop 0", "--loops")


def refuse_wrong_options(test, name, *more):
    for options in ("--loops 0", "--loops x", "--loops 1025", "--loops 2 --stall-loop 2", "--stall-time 5",
                    "--stall-period 5", "--stall-period 5 --stall-time 5", "--burn-rounds -1", "--burn", *more):
        done = subprocess.run([PROGRAMS / name, "echo", *options.split()], input="", capture_output=True,
                              text=True, timeout=LIMIT, check=False)
        test.assertEqual((done.returncode, done.stdout), (64, ""), options)
        test.assertIn("usage:", done.stderr)


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
                refuse_wrong_options(self, name)

    def test_microseconds_are_reported_as_rounds(self):
        done = subprocess.run([PROGRAMS / FLOORS[0], "echo", "--burn-microseconds", "300"], input="",
                              capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"^300 us are (\d+) rounds here: --burn-rounds \1\n$")
