# SPDX-License-Identifier: Apache-2.0
"""The load generator by itself: what it refuses, what it says, and its open loop."""

import json
import resource
import socket
import subprocess
import sys
import unittest

from harness import isolation
from harness.places import LOAD_GENERATOR
from harness.processes import RunningServer
from harness.servers import Server
from tests import WRONG_SERVER, cores

LIMIT = 60


def generate(*arguments, **keywords):
    return subprocess.run([LOAD_GENERATOR, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=LIMIT, check=False, **keywords)


def running(wrong, mode):
    server = Server(wrong, "", None, "1", command=(sys.executable, WRONG_SERVER, wrong))
    return RunningServer(server, [mode], cores(), LIMIT)


def time_wait_after(wrong, server_mode, *arguments):
    """The rows of the kernel's table for connections of this load in TIME_WAIT."""
    if not isolation.is_alone():
        raise unittest.SkipTest("no network namespace to be had, and the kernel's table is of all programs")
    with running(wrong, server_mode) as server:
        generate(*arguments, "--port", server.port)
        with open("/proc/net/tcp", encoding="ascii") as table:
            # Column 3 is the state; 06 is TIME_WAIT.
            return [row for row in table if f":{server.port:04X} " in row and row.split()[3] == "06"]


class RefusalTests(unittest.TestCase):
    def refuse(self, expected, *arguments):
        done = generate(*arguments)
        self.assertEqual((done.returncode, done.stdout), (64, ""))
        self.assertIn(expected, done.stderr)

    def test_a_wrong_command_line_is_told_from_a_failed_load(self):
        self.refuse("a mode is missing", "--port", 1)
        self.refuse("there is no mode 'rain'", "rain", "--port", 1)
        self.refuse("--port is missing", "drain")
        self.refuse("there is no option '--prot'", "drain", "--prot", 1)
        self.refuse("--port needs a value", "drain", "--port")
        self.refuse("one mode is enough", "drain", "echo", "--port", 1)
        self.refuse("--active 3 is more than --connections 2", "echo", "--port", 1, "--active", 3, "--connections", 2)

    def test_numbers_have_bounds(self):
        for option, value in (("port", 0), ("port", 65536), ("connections", -1), ("connections", 1.5), ("sources", 255),
                              ("rate", "nan"), ("seconds", "1s"), ("seconds", ""), ("size", "1e99")):
            self.refuse(f"--{option} must be a", "echo", f"--{option}={value}")

    def test_an_open_loop_of_connections_has_bounds(self):
        for rate, seconds in ((1, 0.5), (100_000, 1000)):
            self.refuse("from 1 to 10000000 connections", "stuck", "--port", 1, "--rate", rate, "--seconds", seconds)

    def test_a_port_where_nobody_listens_is_told(self):
        # Bound and not listening, so no other socket can have it.
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            for mode, text in (("drain", "nobody listens"), ("storm", "refused"), ("echo", "nobody listens"),
                               ("stuck", "nobody listens")):
                done = generate(mode, "--port", reserved.getsockname()[1])
                self.assertEqual(done.returncode, 1)
                self.assertIn(text, done.stderr)

    def test_too_few_descriptors_are_told_before_anything_is_opened(self):
        done = generate("hold", "--port", 1, "--connections", 100,
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
        self.assertEqual(done.returncode, 1)
        self.assertIn("100 connections need 116 open files and the limit is 64", done.stderr)

    def test_the_deadline_ends_it(self):
        with running("leaves-open", "storm") as server:
            done = generate("storm", "--port", server.port, "--deadline", 0.3)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--deadline", done.stderr)


class ReportTests(unittest.TestCase):
    def report(self, mode, *arguments, wrong="nothing"):
        with running(wrong, mode) as server:
            done = generate(mode, "--port", server.port, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("\n"), 1)
        return json.loads(done.stdout)

    def test_drain_sums_up_its_own_addresses(self):
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            done = generate("drain", "--port", listener.getsockname()[1], "--connections", 10, "--sources", 3)
            peers = []
            for _ in range(10):
                connection, peer = listener.accept()
                connection.close()
                peers.append(peer)
        self.assertEqual({address for address, _ in peers}, {"127.0.0.1", "127.0.0.2", "127.0.0.3"})
        total = sum(int(address.rpartition(".")[2]) * 65536 + port for address, port in peers)
        self.assertEqual(json.loads(done.stdout), {"mode": "drain", "connections": 10, "sum": total})

    def test_storm_ends_after_its_connections(self):
        report = self.report("storm", "--connections", 100, "--in-flight", 7)
        self.assertEqual(report["connections"], 100)

    def test_storm_leaves_nothing_in_time_wait(self):
        self.assertEqual(time_wait_after("nothing", "storm", "storm", "--connections", 100), [])

    def test_messages_of_all_sizes_come_back(self):
        for size in (1, 7, 8, 65536, 3_000_000):
            report = self.report("echo", "--connections", 3, "--size", size, "--seconds", 0.4)
            self.assertGreater(report["messages"], 0)

    def test_percentiles_are_in_order(self):
        latency = self.report("echo", "--connections", 8, "--active", 4, "--seconds", 0.4)["latency_ns"]
        ordered = [latency[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
        self.assertEqual(ordered, sorted(ordered))
        self.assertLessEqual(latency["mean"], latency["max"])

    def test_an_open_loop_shows_the_wait_of_messages_that_a_stall_held_back(self):
        # The server stalls once, for 0.4 s. In a closed loop that is one slow message of very many. In the open loop
        # half of 2,000 were due at the time or waited behind; a tenth of all waited for more than 0.1 s.
        arguments = ("--connections", 1, "--seconds", 0.8)
        closed = self.report("echo", *arguments, wrong="stalls")["latency_ns"]
        opened = self.report("echo", *arguments, "--rate", 2500, wrong="stalls")["latency_ns"]
        self.assertGreaterEqual(closed["max"], 400_000_000)
        self.assertGreaterEqual(opened["max"], 390_000_000)
        self.assertGreaterEqual(opened["p90"], 100_000_000)
        self.assertLess(closed["p90"], opened["p90"])

    def test_an_open_loop_sends_no_more_than_its_rate(self):
        report = self.report("echo", "--connections", 4, "--seconds", 0.4, "--rate", 1000)
        self.assertLessEqual(report["messages"], 401)


class StuckTests(unittest.TestCase):
    # 200 connections.
    LOAD = ("stuck", "--rate", 500, "--seconds", 0.4)

    def report(self, wrong, *arguments):
        with running(wrong, "echo") as server:
            done = generate(*self.LOAD, "--port", server.port, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        report = json.loads(done.stdout)
        self.assertEqual(report["failed"], report["refused"] + report["ended"] + report["unanswered"])
        return report

    def test_each_connection_is_answered_whoever_closes_it(self):
        for wrong in ("nothing", "closes-each"):
            report = self.report(wrong)
            self.assertEqual((report["mode"], report["connections"], report["failed"]), ("stuck", 200, 0))

    def test_the_first_byte_counts_also_of_a_server_that_greets_without_reading(self):
        # It closes with the client's byte unread, so the greeting comes before a reset.
        report = self.report("greets-first")
        self.assertEqual((report["connections"], report["failed"]), (200, 0))

    def test_percentiles_are_in_order(self):
        latency = self.report("nothing")["latency_ns"]
        ordered = [latency[name] for name in ("p50", "p99", "p99.9", "max")]
        self.assertEqual(ordered, sorted(ordered))

    def test_a_server_that_stalls_does_not_slow_the_load(self):
        # It sleeps for as long as the load lasts. A closed loop would begin few connections.
        self.assertEqual(self.report("stalls")["connections"], 200)

    def test_the_warm_up_is_not_counted(self):
        self.assertEqual(self.report("nothing", "--warm-up", 0.2)["connections"], 200)

    def test_connections_that_end_without_an_answer_have_failed(self):
        # The server answers no more than its first 100 messages, of which the ends of connections are some.
        report = self.report("closes")
        self.assertEqual(report["connections"] + report["failed"], 200)
        self.assertGreaterEqual(report["ended"], 100)
        self.assertEqual(report["ended"], report["failed"])

    def test_connections_without_an_answer_in_time_have_failed(self):
        report = self.report("is-silent", "--answer-limit", 0.5)
        self.assertEqual(report["connections"] + report["failed"], 200)
        self.assertGreaterEqual(report["unanswered"], 100)
        self.assertEqual(report["unanswered"], report["failed"])

    def test_connections_to_a_port_that_is_closed_have_failed(self):
        # Those in the queue of the listening socket end with it, and those after them are refused.
        report = self.report("stops-listening")
        self.assertEqual((report["connections"], report["failed"]), (100, 100))

    def test_no_answer_at_all_is_a_failure(self):
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            done = generate(*self.LOAD, "--answer-limit", 0.1, "--port", listener.getsockname()[1])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no connection was answered: 0 were refused, 0 ended before, 200 waited too long", done.stderr)

    def test_nothing_is_left_in_time_wait(self):
        self.assertEqual(time_wait_after("nothing", "echo", *self.LOAD), [])
