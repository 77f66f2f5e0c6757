# SPDX-License-Identifier: Apache-2.0
"""benchmarks/tls: its options, its order, its tables from given figures, a short run, and servers that do wrong."""

import contextlib
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from harness import results, tls_command, tls_measuring, tls_report, tls_rows
from harness.places import BENCHMARKS
from harness.tls_rows import FLOOR, IDLE_FLOOR, LOADS, ROWS
from tests import refusal

LIMIT = 120


def parse(text):
    return tls_command.SUITE.parse(text.split())


class OptionTests(unittest.TestCase):
    def test_without_options_all_is_measured_into_the_report(self):
        options = parse("")
        self.assertEqual((options.rounds, options.seconds, options.output), (2, 2, BENCHMARKS / "RESULTS-TLS.md"))
        self.assertEqual(tls_command.chosen_rows(options), list(ROWS))

    def test_a_part_leaves_the_report_alone_and_has_the_floors(self):
        options = parse("--servers go-tls")
        self.assertIsNone(options.output)
        self.assertEqual([row.name for row in tls_command.chosen_rows(options)], [FLOOR, IDLE_FLOOR, "go-tls"])
        self.assertEqual(parse("--report x").output, BENCHMARKS / "RESULTS-TLS.md")

    def test_wrong_options_are_refused(self):
        for text, expected in (("--loads rain", "rain is not one of full, full-rsa, "),
                               ("--servers telnetd", "telnetd is not one of raw-epoll-tls, "),
                               ("--rounds 0", "0 is not a number above 0")):
            self.assertIn(expected, refusal(parse, text))

    def test_names_are_unique_and_rows_name_loads(self):
        self.assertEqual(len({row.name for row in ROWS}), len(ROWS))
        self.assertEqual(len(tls_rows.loads_by_name()), len(LOADS))
        for row in ROWS:
            self.assertLessEqual(set(row.loads), set(tls_rows.loads_by_name()))

    def test_a_round_goes_through_all_servers_of_a_load_before_the_next(self):
        steps = tls_command.schedule(ROWS, LOADS, 2)
        first = [step.server.name for step in steps if step.load.name == "idle" and step.round == 1]
        self.assertIn(IDLE_FLOOR, first)
        self.assertNotIn("nginx-tls", first)
        self.assertEqual([step.round for step in steps], sorted(step.round for step in steps))


def measurement(load, server, number, **figures):
    return {"load": load, "server": server, "round": number, "figures": figures}


class ReportTests(unittest.TestCase):
    found = {
        "kind": "tls", "command": "benchmarks/tls", "commit": "c", "started": "t", "seconds": 1, "rounds": 2,
        "complete": False, "skipped": {"qt-tls": "not built"},
        "machine": {"processor": "p", "cores": 2, "memory_gib": 1, "kernel": "k", "system": "s", "virtual": True,
                    "load_average": [0, 0, 0], "busy": 0, "client_cores": [0], "server_cores": [1]},
        "servers": {name: {"about": "a", "version": "v", "ours": name == "ours-c-tls", "options": ""}
                    for name in (FLOOR, "ours-c-tls", FLOOR + "-again")},
        "measurements": [
            measurement("echo-64", FLOOR, 1, rate=1000, server_cpu_ns=5000, busy=0.5, p50_ns=1e5, p99_ns=1e6),
            measurement("echo-64", "ours-c-tls", 1, rate=950, server_cpu_ns=6000, busy=0.5, p50_ns=1e5, p99_ns=1e6),
            measurement("echo-64", FLOOR + "-again", 1, rate=1010, server_cpu_ns=5000, busy=0.5, p50_ns=1e5, p99_ns=1e6),
            {"load": "full", "server": "ours-c-tls", "round": 1, "failure": "crashed"},
        ],
    }

    def test_ratios_are_to_the_floor_and_the_floor_again_is_the_noise(self):
        said = []
        tls_report.print_all(self.found, said.append)
        text = "\n".join(said)
        self.assertIn("noise of a second: 1.0 %", text)
        row = next(line for line in said if line.startswith("  ours-c-tls") and "0.95" in line)
        self.assertIn("1.20", row)
        self.assertIn("failed", text)

    def test_a_file_of_results_becomes_a_report_and_one_of_others_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path, output = Path(folder) / "found.json", Path(folder) / "REPORT.md"
            results.write(self.found, path)
            tls_report.write(path, output)
            text = output.read_text(encoding="utf-8")
            for part in ("| **ours-c-tls** |", "## Echo 64 B", "## Skipped", "crashed", "**Not complete**"):
                self.assertIn(part, text)
            results.write({"kind": "else"}, path)
            with self.assertRaises(results.NoResults):
                tls_report.write(path, output)


@unittest.skipUnless(tls_measuring.TLS_LOAD_GENERATOR.exists(), "there is no OpenSSL to build the clients with")
class RunTests(unittest.TestCase):
    def test_a_short_run_measures_each_load_of_the_floor(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "found.json"
            done = subprocess.run(
                [BENCHMARKS / "tls", "--no-build", "--servers", FLOOR, "--loads", "full,resumed,echo-64,flood", "--rounds",
                 "1", "--seconds", "0.2", "--results", path],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            found = results.read(path)
            self.assertTrue(found["complete"])
            figures = {m["load"]: m["figures"] for m in found["measurements"] if m["server"] == FLOOR}
            self.assertEqual(figures["full"]["resumed"], 0)
            self.assertGreater(figures["resumed"]["resumed"], 0)
            self.assertGreater(figures["echo-64"]["rate"], 0)
            self.assertGreater(figures["flood"]["handshakes"], 0)

    def serve(self, answer):
        """A server whose every connection gets `answer` of what it has sent. Returns its port."""
        with tempfile.TemporaryDirectory() as folder:
            tls_measuring.make_certificates(Path(folder))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(folder) / "ecdsa.pem", Path(folder) / "ecdsa.key")
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def run():
            with contextlib.suppress(OSError), \
                    context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.sendall(answer(connection.recv(64)))
                connection.recv(1)

        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1]

    def generate(self, port):
        return subprocess.run([tls_measuring.TLS_LOAD_GENERATOR, "echo", "--port", str(port), "--connections", "1",
                               "--seconds", "0.1"], input="go\n", capture_output=True, text=True, timeout=LIMIT, check=False)

    def test_a_server_that_sends_something_else_back_has_no_figures(self):
        done = self.generate(self.serve(lambda message: b"y" * len(message)))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("something else than the message came back", done.stderr)

    def test_a_server_that_is_not_there_has_no_figures(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        done = self.generate(port)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("a handshake failed", done.stderr)
