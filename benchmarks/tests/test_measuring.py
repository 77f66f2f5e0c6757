# SPDX-License-Identifier: Apache-2.0
"""Servers that do something wrong: each must be noticed, and must not end the run."""

import os
import sys
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from harness import measuring, processes
from harness.loads import CPU, Load
from harness.processes import Failed
from harness.progress import Progress
from harness.rounds import Rounds, schedule
from harness.servers import Server
from tests import WRONG_SERVER, cores, discarded

DRAIN = Load("drain", "drain", "drain", (CPU,), (CPU,), rounds=1, connections=50)
STORM = Load("storm", "storm", "storm", (CPU,), (CPU,), rounds=1, connections=4)
ECHO = Load("echo", "echo", "echo", (CPU,), (CPU,), rounds=1, connections=8, active=4)


def server(wrong):
    return Server(wrong, "a wrong server", None, "1", command=(sys.executable, WRONG_SERVER, wrong))


def setting(limit=30.0, seconds=0.3):
    # Long enough for an answer on a machine that does much else.
    return measuring.Setting(cores(), cores(), seconds=seconds, warm_up=0.1, limit=limit)


class WrongServerTests(unittest.TestCase):
    def failure(self, load, wrong, limit=30.0):
        with self.assertRaises(Failed) as caught:
            # It ends with the failure.
            measuring.measure(server(wrong), load, setting(limit, seconds=20))
        return str(caught.exception)

    def test_a_right_server_has_figures(self):
        for load, names in ((DRAIN, {"wall_ns", "cpu_ns"}), (STORM, {"rate", "server_cpu_ns", "p99_ns"}),
                            (ECHO, {"rate", "server_cpu_ns", "p50_ns"})):
            measured = measuring.measure(server("nothing"), load, setting())
            self.assertLessEqual(names, set(measured))
            self.assertTrue(all(value > 0 for value in measured.values()), measured)

    def test_a_lost_connection_is_noticed(self):
        self.assertIn("lost or doubled a connection", self.failure(DRAIN, "drops-one"))

    def test_a_doubled_connection_is_noticed(self):
        self.assertIn("lost or doubled a connection", self.failure(DRAIN, "doubles-one"))

    def test_a_connection_that_is_not_counted_is_noticed(self):
        self.assertIn("drained 49 connections of 50", self.failure(DRAIN, "forgets-one"))

    def test_a_crash_is_told_with_what_the_server_said(self):
        for wrong in ("crashes", "crashes-at-once"):
            failure = self.failure(DRAIN, wrong)
            self.assertIn("ended with 1", failure)
            self.assertIn("the sky is falling", failure)

    def test_a_server_that_hangs_is_given_up(self):
        self.assertIn("said nothing for", self.failure(DRAIN, "hangs", limit=0.5))

    def test_a_server_that_does_not_end_is_told(self):
        # The limit is for its answers, too.
        self.assertIn("still ran", self.failure(DRAIN, "never-ends", limit=5))

    def test_another_greeting_is_noticed(self):
        self.assertIn("something that is not the greeting", self.failure(STORM, "other-greeting"))
        self.assertIn("ended after 15 of 16 bytes", self.failure(STORM, "short-greeting"))

    def test_a_connection_that_the_server_does_not_close_is_noticed(self):
        self.assertIn("got no answer", self.failure(STORM, "leaves-open"))

    def test_a_changed_byte_is_noticed(self):
        self.assertIn("something that was not sent", self.failure(ECHO, "changes-a-byte"))

    def test_an_answer_that_comes_twice_is_noticed(self):
        self.assertIn("something that was not sent", self.failure(ECHO, "repeats"))

    def test_a_closed_connection_is_noticed(self):
        self.assertIn("the server closed a connection", self.failure(ECHO, "closes"))

    def test_a_server_that_the_machine_refuses_says_why(self):
        refused = replace(server("crashes-at-once"), may_be_refused=True)
        self.assertEqual(refused.refusal(), "the sky is falling")
        self.assertIsNone(replace(server("nothing"), may_be_refused=True).refusal())
        self.assertIsNone(server("crashes-at-once").refusal(), "then it is the server's own fault")

    def test_a_second_thread_that_is_not_there_is_noticed(self):
        with_thread = replace(DRAIN, sleeping_thread=True)
        self.assertGreater(measuring.measure(server("nothing"), with_thread, setting())["wall_ns"], 0)
        with mock.patch.object(measuring, "SLEEPING_THREAD", Path("/nowhere/sleeping-thread.so")):
            with self.assertRaises(Failed) as caught:
                measuring.measure(server("nothing"), with_thread, setting())
        self.assertIn("no second thread", str(caught.exception))

    def test_no_process_is_left(self):
        with self.assertRaises(Failed), processes.Process("x", [sys.executable, WRONG_SERVER, "nothing", "echo"],
                                                           cores()) as process:
            pid = process.pid
            raise Failed("in the middle")
        with self.assertRaises(ProcessLookupError):
            # Not even as a child that was not waited for.
            os.kill(pid, 0)


class RoundsTests(unittest.TestCase):
    def run_rounds(self, servers, rounds):
        steps = schedule([DRAIN], servers, lambda load: rounds)
        result = Rounds(steps, setting(), Progress(discarded()), limit_seconds=600)
        result.run()
        return result.measurements

    def test_a_server_with_loads_of_its_own_is_in_no_other(self):
        steps = schedule([DRAIN, STORM, ECHO], [replace(server("nothing"), loads=("drain", "echo"))], lambda load: 1)
        self.assertEqual([step.load.name for step in steps], ["drain", "echo"])

    def test_servers_take_turns(self):
        measurements = self.run_rounds([server("nothing"), server("also-nothing")], rounds=2)
        self.assertEqual([(m["round"], m["server"]) for m in measurements],
                         [(1, "nothing"), (1, "also-nothing"), (2, "nothing"), (2, "also-nothing")])

    def test_a_server_is_measured_right_after_the_floor(self):
        floor, other, again = (Server(name, "", None, "1", command=("true",)) for name in ("floor", "other", "again"))
        calls = []

        def measure(server, load, setting):
            calls.append((load.name, server.name, setting.seconds))
            return {"wall_ns": len(calls)}

        steps = schedule([DRAIN, ECHO], [floor, other, again], lambda load: 1)
        rounds = Rounds(steps, setting(seconds=2), Progress(discarded()), 600, measure=measure, floor=floor)
        rounds.run()
        self.assertEqual(calls, [(load, name, seconds) for load in ("drain", "echo")
                                 for name, seconds in (("floor", 2), ("floor", 1), ("other", 2), ("floor", 1), ("again", 2))])
        self.assertEqual([m.get("floor", {}).get("wall_ns") for m in rounds.measurements], [None, 2, 4, None, 7, 9])

    def test_more_is_measured_until_nothing_is_asked_for_or_time_is_up(self):
        for limit, measured in ((600, 3), (0, 1)):
            steps = schedule([ECHO], [server("nothing")], lambda load: 1)
            asked = [replace(steps[0], round=2), replace(steps[0], round=3), None]
            rounds = Rounds(steps, setting(), Progress(discarded()), limit, measure=lambda *_: {"rate": 1},
                            more=lambda measurements: asked[len(measurements) - 1])
            rounds.run()
            self.assertEqual([m["round"] for m in rounds.measurements], list(range(1, measured + 1)))

    def test_a_server_that_failed_is_not_tried_again_and_the_others_go_on(self):
        measurements = self.run_rounds([server("drops-one"), server("nothing")], rounds=2)
        self.assertEqual([(m["server"], "failure" in m) for m in measurements],
                         [("drops-one", True), ("nothing", False), ("nothing", False)])
