# SPDX-License-Identifier: Apache-2.0
"""benchmarks/loops: its options, its order, its tables from given figures, and a short run."""

import contextlib
import io
import json
import subprocess
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from harness import loops_command, loops_measuring, loops_report, loops_rows, machine, results
from harness.loops_rows import ROWS, STUCK_FLOOR, WORK_FLOOR
from harness.places import BENCHMARKS
from harness.progress import Progress
from tests import refusal

LIMIT = 120


def parse(text):
    return loops_command.SUITE.parse(text.split())


class OptionTests(unittest.TestCase):
    def test_without_options_all_is_measured_into_the_report(self):
        options = parse("")
        self.assertEqual((options.rounds, options.seconds, options.output), (3, 10, BENCHMARKS / "RESULTS-LOOPS.md"))
        self.assertEqual(loops_command.chosen_rows(options), list(ROWS))

    def test_a_part_leaves_the_report_alone(self):
        self.assertIsNone(parse("--servers libuv").output)
        self.assertIsNone(parse("--loads stuck").output)
        self.assertEqual(parse("--loads stuck --output x").output, Path("x"))
        self.assertEqual(parse("--report x").output, BENCHMARKS / "RESULTS-LOOPS.md")

    def test_wrong_options_are_refused(self):
        for text, expected in (("--loads rain", "rain is not one of work, stuck, balance, idle"),
                               ("--servers telnetd", "telnetd is not one of raw-epoll-loops, "),
                               ("--rounds 0", "0 is not a number above 0"),
                               ("--rounds 1.5", "1.5 is not a number above 0"),
                               ("--seconds x", "x is not a number above 0"),
                               ("--burn-microseconds 0", "0 is not a number above 0")):
            self.assertIn(expected, refusal(parse, text))

    def test_the_floors_of_the_loads_are_measured_with_any_server(self):
        def chosen(text):
            return [row.name for row in loops_command.chosen_rows(parse(text))]

        self.assertEqual(chosen("--servers nginx"), [STUCK_FLOOR, WORK_FLOOR, "nginx"])
        self.assertEqual(chosen("--servers nginx --loads stuck"), [STUCK_FLOOR, "nginx"])
        self.assertEqual(chosen("--servers go --loads work"), [WORK_FLOOR, "go"])

    def test_names_are_unique(self):
        self.assertEqual(len(loops_rows.by_name()), len(ROWS))

    def test_servers_take_turns_and_get_only_their_loads(self):
        rows = [loops_rows.by_name()[name] for name in ("go", "nginx")]
        steps = loops_command.schedule(rows, ("work", "stuck", "balance", "idle"), 2)
        once = [("work-1", "go"), ("work-2", "go"), ("stuck", "go"), ("stuck", "nginx")]
        # What is idle is the same in each round.
        self.assertEqual([(step.load.name, step.server.name) for step in steps], [*once, ("idle", "go"), *once])
        self.assertEqual([step.round for step in steps], [1] * 5 + [2] * 4)

    def test_clients_have_a_core_of_their_own_where_there_are_three(self):
        self.assertEqual(loops_measuring.choose_cores({0, 1}), ({0, 1}, {0, 1}))
        self.assertEqual(loops_measuring.choose_cores({7}), ({7}, {7}))
        self.assertEqual(loops_measuring.choose_cores(range(8)), ({0}, {1, 2}))


class WarningTests(unittest.TestCase):
    def said_by(self, warn, *arguments):
        said = io.StringIO()
        warn(Progress(said), *arguments)
        return said.getvalue()

    def test_a_busy_machine_is_reported(self):
        for busy, expected in ((0.4, "The machine is busy: other programs use 40 %"), (0.01, "")):
            with unittest.mock.patch.object(machine, "busy", return_value=busy):
                self.assertEqual(self.said_by(machine.warn_if_busy).partition(" of its")[0], expected)

    def test_one_core_is_reported(self):
        self.assertIn("one core only", self.said_by(loops_command.warn, 1))
        self.assertNotIn("one core only", self.said_by(loops_command.warn, 2))

    def test_idle_processors_are_idle_or_wait_for_a_disk(self):
        before = machine.processor_times("cpu  10 1 5 100 20 1 2 1 0 0\ncpu0 1 1 1 1\n")
        after = machine.processor_times("cpu  20 1 10 160 40 3 3 3 7 7\ncpu0 1 1 1 1\n")
        self.assertEqual((before, after), ((20, 140), (40, 240)))
        self.assertEqual(machine.used_share(before, after), 0.2)
        self.assertEqual(machine.used_share(before, before), 0)


def found(**changes):
    """Results of two rounds, the second of which was twice as slow for all."""
    servers = {name: {"about": f"how {name} does it", "version": "1", "ours": name.startswith("ours"),
                      "options": "--shared-queue" if name == "ours-async-shared-queue" else ""}
               for name in (STUCK_FLOOR, WORK_FLOOR, "ours-async-shared-queue", "go")}
    measurements = []

    def measured(load, server, number, **figures):
        measurements.append({"load": load, "server": server, "round": number, "figures": figures})

    for number in (1, 2):
        for server, one, two in ((WORK_FLOOR, 1000, 2000), ("ours-async-shared-queue", 900, 1620)):
            measured("work-1", server, number, rate=one / number)
            measured("work-2", server, number, rate=two / number)
        for server, factor in ((STUCK_FLOOR, 1), ("ours-async-shared-queue", 2), ("go", 4)):
            measured("stuck", server, number, p50_ns=1e6 * factor, p99_ns=2e6 * factor * number,
                     max_ns=4e6 * factor * number, failed=factor - 1, connections=100, begun_late_ns=1e5 * number)
    for number, most in ((1, 300), (2, 260), (3, 280)):
        measured("balance", STUCK_FLOOR, number, opened=[most, 600 - most], closed=[most - 100, 400 - most],
                 more=[most, 500 - most])
    for name, wakes in ((STUCK_FLOOR, 0), ("ours-async-shared-queue", 1.5)):
        measured("idle", name, 1, wakes=wakes, idle_cpu_ns=wakes * 20000)
    measurements.append({"load": "balance", "server": "go", "round": 1, "failure": "go fell over"})
    return {"command": "benchmarks/loops", "commit": "abc", "started": "today", "seconds": 10, "rounds": 2,
            "burn_rounds": 180000, "burn_microseconds": 300, "servers": servers,
            "machine": {"processor": "Abacus", "cores": 2, "virtual": False, "memory_gib": 1, "system": "Linux",
                        "kernel": "6", "load_average": [0.5, 0, 0], "client_cores": [0, 1], "server_cores": [0, 1],
                        "busy": 0.02},
            "skipped": {"nginx": "nginx is not installed"}, "complete": True, "measurements": measurements, **changes}


class ReportTests(unittest.TestCase):
    def test_work_is_the_gain_of_a_second_loop_and_that_over_the_floors(self):
        rows = loops_report.work_table(found())
        self.assertEqual(rows[1][:4] + rows[1][5:6], [WORK_FLOOR, "750", "1,500", "2.00", "1.00"])
        self.assertEqual(rows[2][3:], ["1.80", "1.80-1.80", "0.90", "0.90-0.90"])

    def test_without_a_floor_there_is_no_ratio_to_it(self):
        kept = [m for m in found()["measurements"] if m["server"] != WORK_FLOOR]
        self.assertEqual(loops_report.work_table(found(measurements=kept))[1][5:], ["-", "-"])

    def test_stuck_shows_medians_and_all_failures(self):
        rows = loops_report.stuck_table(found())
        self.assertEqual(rows[1], [STUCK_FLOOR, "1.00", "3.00", "2.00-4.00", "6.00", "4.00-8.00", "0", "0.20"])
        self.assertEqual([row[6] for row in rows[1:]], ["0", "2", "6"])

    def test_balance_shows_the_round_in_the_middle_and_a_failure(self):
        rows = loops_report.balance_table(found())
        self.assertEqual(rows[1:], [[STUCK_FLOOR, "280 / 320", "180 / 120", "280 / 220"], ["go", "failed"]])

    def test_idle_shows_wake_ups_and_cpu_time(self):
        self.assertEqual(loops_report.idle_table(found())[1:],
                         [[STUCK_FLOOR, "0.0", "0"], ["ours-async-shared-queue", "1.5", "30"]])

    def test_the_report_has_the_setting_the_tables_and_what_went_wrong(self):
        text = loops_report.text(found(), [("stuck-loop.svg", "A title")], "charts")
        for expected in ("- Command: `benchmarks/loops`, today, commit abc", "Machine: Abacus, 2 cores, 1 GiB",
                         "Clients on core 0 and 1, servers on core 0 and 1", "other programs used 2 %",
                         "180,000 steps of arithmetic, 300 µs", "![A title](charts/stuck-loop.svg)", "## Work",
                         "## A loop that hangs", "## Balance", "| **ours-async-shared-queue** |", "`--shared-queue`",
                         "- nginx: nginx is not installed", "- balance, go, round 1: go fell over"):
            self.assertIn(expected, text)
        self.assertNotIn("Not complete", text)
        self.assertIn("Not complete", loops_report.text(found(complete=False), [], "charts"))

    def test_a_load_that_was_not_measured_has_no_table(self):
        kept = [m for m in found()["measurements"] if m["load"] == "stuck"]
        text = loops_report.text(found(measurements=kept), [], "charts")
        self.assertIn("## A loop that hangs", text)
        self.assertNotIn("## Work", text)
        self.assertNotIn("## Balance", text)

    def test_the_chart_has_p99_and_maximum_in_milliseconds(self):
        rows = loops_report.points(found())
        self.assertEqual([(row[:3], row[3].middle, row[4].middle) for row in rows],
                         [((STUCK_FLOOR, False, True), 3, 6), (("ours-async-shared-queue", True, False), 6, 12),
                          (("go", False, False), 12, 24)])

    def test_results_of_the_other_command_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            results.write({"measurements": []}, path)
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                self.assertEqual(loops_command.SUITE.main(["--report", str(path), "--output", folder + "/x"]), 1)
            self.assertIn("is of benchmarks/run", said.getvalue())


class RunTests(unittest.TestCase):
    def test_a_short_run_writes_results_tables_and_report(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            done = subprocess.run(
                [BENCHMARKS / "loops", "--no-build", "--servers", STUCK_FLOOR, "--rounds", "1", "--seconds", "0.3",
                 "--burn-microseconds", "10", "--results", folder / "results.json", "--output", folder / "report.md",
                 "--charts", folder / "charts"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("need all of two cores", done.stderr)
            found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            self.assertEqual(len(found["measurements"]), 2 * 5)
            self.assertTrue(found["complete"])
            for title in ("Work", "A loop that hangs", "Balance"):
                self.assertIn(title, done.stdout)
                self.assertIn(f"## {title}", (folder / "report.md").read_text(encoding="utf-8"))
            # Where matplotlib is installed.
            if ", 1 chart" in done.stdout:
                chart = (folder / "charts" / "stuck-loop.svg").read_text(encoding="utf-8")
                for text in (STUCK_FLOOR, "p99", "maximum"):
                    self.assertIn(text, chart)
