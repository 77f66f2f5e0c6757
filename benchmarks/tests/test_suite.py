# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/loops, tls and services have in common: how a run is kept, and how it ends."""

import contextlib
import io
import signal
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from types import SimpleNamespace

from harness import command_line, results
from harness.processes import Failed
from harness.progress import Progress
from harness.rounds import Step
from harness.suite import Suite

LOAD = SimpleNamespace(name="work", title="work", kind="work")
ROWS = (SimpleNamespace(name="here"), SimpleNamespace(name="not-built"))
SETTING = SimpleNamespace(client_cores={1}, server_cores={0}, seconds=1, warm_up=0)


class RunTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        self.path = Path(folder.name) / "results.json"

    def run_suite(self, measure_one):
        """Three rounds of one row. Returns the status of the command and what it said."""
        def perform(run):
            steps = [Step(LOAD, row, number, 3) for number in (1, 2, 3) for row in run.rows]
            return run.measure(SETTING, 0.02, steps, measure_one, burn=7)

        return self.command(perform)

    def command(self, perform):
        suite = Suite("none", "", "", ROWS, ("work",), rounds=3, seconds=1, choose=lambda options: ROWS, perform=perform,
                      build=lambda rows, no_build, progress: {"not-built": "no compiler"}, describe=lambda row: {},
                      listing="", marks={"kind": "none"},
                      report=SimpleNamespace(print_all=lambda found: print(len(found["measurements"]), "shown")))
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), \
                unittest.mock.patch.object(command_line, "Progress", lambda: Progress(said)):
            status = suite.main(["--loads", "work", "--results", str(self.path)])
        return status, said.getvalue()

    def test_a_run_is_kept_and_shown(self):
        status, said = self.run_suite(lambda row, load, setting: {"rate": 1})
        self.assertEqual(status, 0)
        self.assertRegex(said, f"3 shown\n\n3 measurements in \\d+ s, kept in {self.path}\n$")
        found = results.read(self.path)
        self.assertTrue(found["complete"])
        self.assertEqual([m["round"] for m in found["measurements"]], [1, 2, 3])
        self.assertEqual((found["kind"], found["burn"], found["rounds"], found["seconds"]), ("none", 7, 3, 1))
        self.assertEqual((found["servers"], found["skipped"]), ({"here": {}}, {"not-built": "no compiler"}))
        self.assertEqual((found["machine"]["busy"], found["machine"]["client_cores"]), (0.02, [1]))

    def test_a_measurement_that_fails_fails_the_command(self):
        def measure_one(row, load, setting):
            raise Failed("it fell over")

        status, said = self.run_suite(measure_one)
        self.assertEqual(status, 1)
        self.assertIn("FAILED: work, round 1: it fell over", said)
        self.assertTrue(results.read(self.path)["complete"])

    def test_an_interrupted_run_keeps_what_it_measured(self):
        measured = []

        def measure_one(row, load, setting):
            if len(measured) == 2:
                raise KeyboardInterrupt
            measured.append(row)
            return {"rate": 1}

        status, said = self.run_suite(measure_one)
        self.assertEqual(status, 130)
        self.assertIn(f"what was measured until now is kept in {self.path}", said)
        found = results.read(self.path)
        self.assertEqual((found["complete"], len(found["measurements"])), (False, 2))

    def test_a_machine_that_cannot_measure_ends_the_command(self):
        def perform(run):
            raise Failed("no certificates")

        status, said = self.command(perform)
        self.assertEqual((status, said.splitlines()[-1]), (2, "no certificates"))
        self.assertFalse(self.path.exists())
