# SPDX-License-Identifier: Apache-2.0
"""How scripts/test runs the commands of its steps."""

import os
import sys
import tempfile
import threading
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))

from testing.running import Runner, members  # noqa: E402
from testing.steps import Step  # noqa: E402


class RunningTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.runner = Runner(self.folder, self.folder)
        self.ended = []

    def run_all(self, *groups, shared=()):
        def steps(group):
            return [Step(name, name, ("timeout", "20", "sh", "-c", command)) for name, command in group]

        self.runner.run_all([steps(group) for group in groups], lambda step: None,
                            lambda step, status, text, seconds: self.ended.append((step.name, status, text)),
                            steps(shared))

    def test_steps_of_a_group_run_in_their_order_whatever_fails(self):
        self.run_all([("first", "echo one; exit 3"), ("second", "echo two >&2")])
        self.assertEqual(self.ended, [("first", 3, "one\n"), ("second", 0, "two\n")])

    def test_groups_run_beside_each_other(self):
        os.mkfifo(self.folder / "fifo")
        self.run_all([("reads", "cat fifo")], [("writes", "echo met >fifo")])
        self.assertEqual(sorted(self.ended), [("reads", 0, "met\n"), ("writes", 0, "")])

    def test_a_group_that_is_done_goes_on_with_what_is_shared(self):
        os.mkfifo(self.folder / "fifo")
        self.run_all([("waits", "cat fifo")], [], shared=[("first", "true"), ("second", "echo met >fifo")])
        self.assertEqual(sorted(self.ended), [("first", 0, ""), ("second", 0, ""), ("waits", 0, "met\n")])

    def test_what_a_step_leaves_behind_is_ended(self):
        self.run_all([("leaves", "sleep 60 & echo $PPID")])
        self.assertEqual([*members(int(self.ended[0][2]))], [])

    def test_an_interrupt_ends_what_runs_and_begins_nothing(self):
        os.mkfifo(self.folder / "fifo")

        def interrupt():
            with open(self.folder / "fifo", encoding="ascii") as fifo:
                fifo.read()
            self.runner.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        self.run_all([("waits", "echo runs; echo >fifo; sleep 60"), ("next", "true")])
        thread.join()
        self.assertEqual(self.ended, [])
        self.assertEqual((self.folder / "waits.log").read_text(encoding="ascii"), "runs\n")
