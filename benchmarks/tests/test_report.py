# SPDX-License-Identifier: Apache-2.0
"""The report: what it says of a run, and of one that went wrong."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from harness import comparison, isolation, loads, report, results


def found(**changes):
    """Results of two loads in two rounds, the second of which was twice as slow for everyone."""
    servers = {name: {"about": name, "version": "1", "registers": False, "ours": name == "ours-c"}
               for name in ("raw-epoll", "slow", "ours-c", "raw-epoll-again")}
    measurements = [{"load": load, "server": server, "round": number,
                     "figures": {"wall_ns": value * number, "cpu_ns": 1}}
                    for number in (1, 2)
                    for load, factor in (("drain-1000", 1), ("drain-10000", 2))
                    for server, value in (("raw-epoll", 1000 * factor), ("slow", 5000 * factor),
                                          ("ours-c", 1100 * factor), ("raw-epoll-again", 1030 * factor))]
    return {"command": "benchmarks/run", "commit": "abc", "started": "today", "seconds": 0.5, "servers": servers,
            "machine": {"processor": "Abacus", "cores": 2, "virtual": False, "memory_gib": 1, "system": "Linux",
                        "kernel": "6", "load_average": [0.5, 0, 0], "client_cores": [0], "server_cores": [1],
                        "open_files": 1024, "somaxconn": 128},
            "skipped": {}, "left_out": {}, "complete": True, "measurements": measurements, **changes}


class ReportTests(unittest.TestCase):
    def test_the_best_server_comes_first_with_its_ratio(self):
        rows = report.overview(found()["measurements"], found()["servers"], False)
        self.assertEqual([row[0] for row in rows[1:]], ["raw-epoll", "raw-epoll-again", "**ours-c**", "slow"])
        # A load of 10,000 has twice the figures of one of 1,000.
        self.assertEqual(rows[3][1:3], ["3,300", "1.10"])

    def test_connections_that_are_ready_to_read_have_a_table_of_their_own(self):
        servers = found()["servers"]
        servers["slow"]["registers"] = True
        tables = {registers: [row[0] for row in report.overview(found()["measurements"], servers, registers)[1:]]
                  for registers in (False, True)}
        self.assertEqual(tables, {False: ["raw-epoll", "raw-epoll-again", "**ours-c**"], True: ["slow"]})

    def test_the_natural_form_is_compared_with_the_fastest(self):
        servers = found()["servers"]
        servers["slow"]["natural_form_of"] = "ours-c"
        measurements = [{"load": "echo-64x64", "server": server, "round": number, "figures": {"server_cpu_ns": time * number}}
                        for number in (1, 2) for server, time in (("slow", 110), ("ours-c", 100))]
        text = "\n".join(report.natural_forms(measurements, servers))
        self.assertIn("| **slow** | ours-c | - | 1.10 (1.10-1.10) | - | - |", text)
        self.assertEqual(report.natural_forms(measurements, found()["servers"]), [])

    def test_the_setting_and_the_noise_are_told(self):
        text = report.text(found(), [], "charts")
        for part in ("Abacus, 2 cores", "commit abc", "`benchmarks/run`",
                     "differs from itself by 3.0 % in half of the rounds", "3.0 % in the worst round"):
            self.assertIn(part, text)
        self.assertNotIn("Not complete", text)
        self.assertNotIn("## Failed", text)

    def test_growth_compares_a_server_with_itself(self):
        text = report.text(found(), [], "charts")
        self.assertIn("| slow | 2.00 (2.00-2.00) | - |", text)

    def test_a_load_says_what_must_be_known_to_read_it(self):
        self.assertIn(loads.by_name()["drain-10000"].note, report.text(found(), [], "charts"))

    def test_what_is_missing_is_told(self):
        failure = {"load": "storm", "server": "slow", "round": 1, "failure": "slow ended with 1;\nits words"}
        text = report.text(found(complete=False, skipped={"go": "go is not installed"},
                                 measurements=found()["measurements"] + [failure]), [], "charts")
        for part in ("Not complete", "- go: go is not installed",
                     "- storm, slow, round 1: slow ended with 1; its words"):
            self.assertIn(part, text)


class ComparisonTests(unittest.TestCase):
    def compare(self, second, *arguments):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
            paths = [Path(folder) / name for name in ("first.json", "second.json")]
            for path, content in zip(paths, (found(), second)):
                results.write(content, path)
            return comparison.main([*map(str, paths), *arguments]), printed.getvalue()

    def test_the_same_is_the_same(self):
        self.assertEqual(self.compare(found())[0], 0)

    def test_a_difference_is_shown_with_its_size(self):
        second = found()
        for measurement in second["measurements"]:
            if measurement["server"] == "slow" and measurement["load"] == "drain-1000":
                measurement["figures"]["wall_ns"] *= 1.1
        status, printed = self.compare(second)
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"drain-1000 +slow +wall_ns +5.000 +5.500 +\+10.0 %")
        self.assertEqual(self.compare(second, "--limit", "11")[0], 0)

    def test_nothing_to_compare_is_not_the_same(self):
        self.assertEqual(self.compare(found(measurements=[]))[0], 1)


class CoresTests(unittest.TestCase):
    def test_server_and_clients_have_a_core_each(self):
        self.assertEqual(isolation.choose_cores({0, 1}, lambda core: {0}), ({0}, {1}))

    def test_the_other_thread_of_a_core_is_avoided_where_it_can_be(self):
        self.assertEqual(isolation.choose_cores({0, 1, 2, 3}, lambda core: {0, 1}), ({0}, {2}))
        self.assertEqual(isolation.choose_cores({0, 1}, lambda core: {0, 1}), ({0}, {1}))

    def test_one_core_is_shared(self):
        self.assertEqual(isolation.choose_cores({3}, lambda core: {3}), ({3}, {3}))

    def test_the_kernels_lists_of_cores_are_read(self):
        self.assertEqual(isolation.parse_cores("0-2,8\n"), {0, 1, 2, 8})


class ResultsTests(unittest.TestCase):
    def test_what_was_written_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "new" / "results.json"
            results.write(found(), path)
            self.assertEqual(results.read(path)["measurements"], found()["measurements"])

    def test_other_files_are_refused_with_a_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            for content in (None, "", "[]", '{"format": 0}'):
                if content is not None:
                    path.write_text(content, encoding="utf-8")
                with self.assertRaises(results.NoResults) as caught:
                    results.read(path)
                self.assertIn("results.json", str(caught.exception))
