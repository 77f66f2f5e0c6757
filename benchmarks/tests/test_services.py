# SPDX-License-Identifier: Apache-2.0
"""benchmarks/services: relays that do something wrong, its options, and its tables."""

import re
import sys
import tempfile
import unittest
from pathlib import Path

from harness import results, services_command, services_measuring, services_report, services_rows
from harness.measuring import Setting
from harness.processes import Failed
from harness.services_rows import Load, Row
from tests import cores, refusal

WRONG_RELAY = Path(__file__).resolve().parent / "wrong_relay.py"
RELAY = Load("relay", "relay", "nothing", services_rows.CPU_GIB, services_rows.GIB, "",
             ("--connections", 3, "--stalled", 1))


def row(wrong, kind="relay"):
    return Row(wrong, kind, "a relay", None, "1", (sys.executable, str(WRONG_RELAY), wrong, "{upstream}"), says_port=True)


def setting(seconds=0.3):
    return Setting(cores(), cores(), seconds=seconds, warm_up=0.1, limit=30)


class RelayTests(unittest.TestCase):
    def failure(self, wrong, seconds=20):
        """A wrong that is noticed at once ends the load, however long that is to be."""
        with self.assertRaises(Failed) as caught:
            services_measuring.measure(row(wrong), RELAY, setting(seconds))
        return str(caught.exception)

    def test_a_right_relay_has_figures_and_holds_up_who_sends_to_a_peer_that_does_not_read(self):
        figures = services_measuring.measure(row("nothing"), RELAY, setting())
        self.assertGreater(figures["rate"], 0)
        self.assertGreater(figures["cpu_ns"], 0)
        self.assertGreater(figures["stalled_bytes"], 0)
        # What the kernel holds of two connections, and no more.
        self.assertLess(figures["stalled_bytes"], 64 << 20)

    def test_a_changed_byte_is_noticed(self):
        self.assertIn("something that was not sent", self.failure("changes-a-byte"))

    def test_a_relay_that_ends_is_noticed(self):
        self.assertRegex(self.failure("ends"), "ended|broke")

    def test_a_relay_that_passes_nothing_on_is_noticed(self):
        self.assertIn("passed nothing on", self.failure("passes-nothing", seconds=0.3))


class ProgramTests(unittest.TestCase):
    def test_the_error_of_a_program_that_does_not_begin_has_its_words(self):
        wrong = Row("x", "http", "", None, "1", (sys.executable, "-c", "raise SystemExit('no configuration')"))
        with self.assertRaises(Failed) as caught:
            services_measuring.RunningProgram(wrong, setting())
        self.assertIn("no configuration", str(caught.exception))

    def test_a_program_gets_its_configuration(self):
        code = "import sys, time; print(open(sys.argv[1]).read(), flush=True); time.sleep(60)"
        wrong = Row("x", "http", "", None, "1", (sys.executable, "-c", code, "{folder}/configuration"),
                    configuration="listen {port};{{}}", says_port=True)
        with self.assertRaises(Failed) as caught:
            services_measuring.RunningProgram(wrong, setting())
        self.assertRegex(str(caught.exception), r"said 'listen \d+;\{\}' instead of its port")


class OptionTests(unittest.TestCase):
    def test_what_a_row_is_compared_with_comes_along(self):
        for name, expected in (("ours-relay", ["haproxy", "ours-relay"]), ("redis", ["redis"]),
                               ("ours-http", ["nginx", "ours-http"])):
            chosen = services_command.chosen_rows(services_command.SUITE.parse(["--servers", name]))
            self.assertEqual([row.name for row in chosen], expected)

    def test_a_row_is_in_the_loads_of_its_kind(self):
        steps = services_command.schedule([services_rows.by_name()["redis"]], 2)
        self.assertEqual([(step.load.name, step.round) for step in steps],
                         [("resp-set", 1), ("resp-get", 1), ("resp-set", 2), ("resp-get", 2)])

    def test_a_part_of_a_run_does_not_write_the_report(self):
        self.assertIsNone(services_command.SUITE.parse(["--loads", "http"]).output)
        self.assertIsNotNone(services_command.SUITE.parse([]).output)

    def test_names_that_do_not_exist_are_refused(self):
        for arguments in (["--servers", "apache"], ["--loads", "drain"], ["--rounds", "0"]):
            self.assertIn("is not", refusal(services_command.SUITE.parse, arguments))


def found():
    measurements = [{"load": "relay", "server": server, "round": number,
                     "figures": {"cpu_ns": value * number * 1e6, "rate": 2**30, "busy": 0.5, "stalled_bytes": 3 << 20}}
                    for number in (1, 2) for server, value in (("haproxy", 200), ("ours-relay", 150))]
    measurements.append({"load": "relay", "server": "socat", "round": 1, "failure": "socat ended with 1"})
    return {"services": True, "command": "benchmarks/services", "commit": "abc", "started": "today", "seconds": 2,
            "rounds": 2, "complete": True, "skipped": {"go": "go is not installed"}, "measurements": measurements,
            "servers": {name: {"about": name, "version": "1", "ours": name == "ours-relay"}
                        for name in ("haproxy", "ours-relay", "socat")},
            "machine": {"processor": "Abacus", "cores": 2, "virtual": False, "memory_gib": 1, "system": "Linux",
                        "kernel": "6", "load_average": [0.5, 0, 0], "client_cores": [0], "server_cores": [1],
                        "busy": 0.01}}


class ReportTests(unittest.TestCase):
    def test_a_program_is_compared_with_the_base_of_its_load_in_the_same_round(self):
        text = services_report.text(found(), [], "charts")
        self.assertIn("| **ours-relay** | 225 | 150-300 | 0.75 | 0.75-0.75 | 1.00 | 50 | 3.0 |", text)
        self.assertRegex(text, r"\| socat \| failed \|")
        for part in ("- go: go is not installed", "- relay, socat, round 1: socat ended with 1"):
            self.assertIn(part, text)
        self.assertNotIn("Not complete", text)

    def test_the_chart_has_the_loads_that_have_figures(self):
        titles = [title for title, _ in services_report.panels(found())]
        self.assertEqual(len(titles), 1)
        self.assertIn("haproxy = 1", titles[0])

    def test_results_of_another_command_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            results.write({**found(), "services": False}, path)
            with self.assertRaisesRegex(results.NoResults, re.escape(str(path))):
                services_report.write(path, Path(folder) / "report.md", Path(folder))
