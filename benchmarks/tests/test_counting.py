# SPDX-License-Identifier: Apache-2.0
"""Counting what a program does, and judging it."""

import tempfile
import unittest
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from harness import counting, isolation, servers, thresholds
from harness.processes import Failed

FLOOR = servers.by_name()[servers.FLOOR]
LOADS = {load.name: load for load in counting.LOADS}
LIMITS = {"accept4": 1, "epoll_wait": "1/64", "allocations": 0, "bytes": 0, "held": 0,
          "instructions": 1000}
RIGHT = {"accept4": Fraction(1), "epoll_wait": Fraction(1, 64), "allocations": Fraction(0), "bytes": Fraction(0),
         "held": Fraction(0), "instructions": Fraction(980)}


def over(counted, same_versions=True):
    rows = thresholds.judge("drain", "x", {**RIGHT, **counted}, LIMITS, same_versions)
    return [row.what for row in rows if row.is_over]


class JudgingTests(unittest.TestCase):
    def test_what_is_within_its_limits_is_ok(self):
        rows = thresholds.judge("drain", "x", RIGHT, LIMITS, True)
        self.assertEqual({row.what: row.verdict for row in rows}, dict.fromkeys(LIMITS, "ok"))

    def test_a_system_call_without_a_limit_may_not_be_made(self):
        self.assertEqual(over({"getpeername": Fraction(1)}), ["getpeername"])
        self.assertEqual(over({"getpeername": Fraction(1, 64)}), ["getpeername"])

    def test_one_that_is_not_made_for_each_needs_no_limit(self):
        rows = thresholds.judge("drain", "x", {**RIGHT, "brk": Fraction(0)}, LIMITS, True)
        self.assertNotIn("brk", [row.what for row in rows])

    def test_two_more_of_a_thousand_may_have_strayed_and_no_more(self):
        self.assertEqual(over({"epoll_wait": Fraction(1, 64) + Fraction(2, 960)}), [])
        self.assertEqual(over({"epoll_wait": Fraction(1, 64) + Fraction(3, 960)}), ["epoll_wait"])

    def test_the_bytes_of_two_may_be_more_and_no_others(self):
        self.assertEqual(over({"bytes": RIGHT["bytes"] + Fraction(2 * 256, 960)}), [])
        self.assertEqual(over({"bytes": RIGHT["bytes"] + Fraction(3 * 256, 960)}), ["bytes"])

    def test_one_more_for_each_is_too_many_of_anything(self):
        for what in ("accept4", "allocations", "bytes", "held"):
            self.assertEqual(over({what: RIGHT[what] + 1}), [what])
        self.assertEqual(over({"instructions": Fraction(1001)}), ["instructions"])

    def test_with_other_versions_half_as_many_instructions_more_are_allowed_and_no_call(self):
        self.assertEqual(over({"instructions": Fraction(1500)}, same_versions=False), [])
        self.assertEqual(over({"instructions": Fraction(1501)}, same_versions=False), ["instructions"])
        self.assertEqual(over({"accept4": Fraction(2)}, same_versions=False), ["accept4"])

    def test_a_limit_that_is_too_high_is_said(self):
        rows = thresholds.judge("drain", "x", {**RIGHT, "instructions": Fraction(900)}, LIMITS, True)
        self.assertEqual([row.what for row in rows if "lower" in row.verdict], ["instructions"])

    def test_an_update_changes_measured_limits_only(self):
        counted = {**RIGHT, "accept4": Fraction(2), "instructions": Fraction(500), "bytes": Fraction(49, 2)}
        self.assertEqual(thresholds.updated(LIMITS, counted), {**LIMITS, "instructions": 515, "bytes": 25})

    def test_what_is_written_is_read_again(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "thresholds.json"
            thresholds.write({"versions": "a", "drain": {"x": LIMITS, "y": LIMITS}, "echo": {}}, path)
            self.assertEqual(thresholds.read(path),
                             {"versions": "a", "drain": {"x": LIMITS, "y": LIMITS}, "echo": {}})

    def test_the_file_has_a_row_for_each_of_ours(self):
        known = thresholds.read()
        self.assertEqual(set(known["drain"]), {server.name for server in servers.SERVERS
                                               if server.ours and (not server.loads or "drain" in server.loads)})
        for load in counting.LOADS:
            for limits in known[load.name].values():
                self.assertGreaterEqual(limits.keys(), {"allocations", *thresholds.MEASURED})


class CountingTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        isolation.allow_descriptors()

    def count(self, load, counter):
        reason = counting.why_not(counter)
        if reason:
            self.skipTest(reason)
        return counting.count(FLOOR, load, [counter])

    def test_the_floor_makes_one_system_call_to_accept_and_three_to_answer(self):
        grown = {name: number for name, number in self.count(LOADS["drain"], counting.SystemCalls).items() if number > 0}
        self.assertEqual(grown["accept4"], 1)
        self.assertLess(sum(grown.values()), 1 + Fraction(1, 10))
        grown = {name: number for name, number in self.count(LOADS["echo"], counting.SystemCalls).items() if number > 0}
        self.assertEqual(sum(grown.values()), 3)

    def test_the_floor_allocates_nothing_for_a_message(self):
        self.assertEqual(self.count(LOADS["echo"], counting.Allocations),
                         {"allocations": 0, "bytes": 0, "held": 0})

    def test_what_is_allocated_and_freed_again_is_not_held(self):
        for name, holds in (("idle", True), ("conversation-as-written", False)):
            load = replace(LOADS[name], options=())
            counted = counting.count(servers.by_name()["ours-c"], load, [counting.Allocations])
            self.assertGreaterEqual(counted["allocations"], 1)
            self.assertEqual(counted["held"] > 128, holds)

    def test_instructions_are_the_same_each_time(self):
        once, again = (self.count(LOADS["drain"], counting.Instructions)["instructions"] for _ in range(2))
        self.assertGreater(once, 0)
        self.assertLess(abs(once - again) / once, Fraction(1, 100))

    def test_a_counter_that_was_not_loaded_has_not_counted(self):
        class NotLoaded(counting.Allocations):
            def start(self, program, folder):
                command, _ = super().start(program, folder)
                return command, {}

        with self.assertRaisesRegex(Failed, "allocations of raw-epoll were not counted"):
            counting.count(FLOOR, LOADS["echo"], [NotLoaded])
