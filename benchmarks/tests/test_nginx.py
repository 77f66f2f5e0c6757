# SPDX-License-Identifier: Apache-2.0
"""nginx as a server: it greets whatever hangs, and none of its processes is left or stays stopped."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path
from unittest import mock

from harness import building, nginx
from harness.loops_rows import NGINX
from harness.nginx import RunningNginx, Stalls
from harness.places import BENCHMARKS
from harness.processes import Failed, Load
from harness.progress import Progress
from tests import cores, discarded

LIMIT = 60
# Runs for a millisecond, then hangs for ten minutes.
FOR_GOOD = {"period": 600_001, "length": 600_000}


def why_not():
    try:
        nginx.BUILDER.build(["nginx"], discarded)
    except building.NotBuilt as error:
        return str(error)
    return None


def state(process):
    # The name before it may hold anything, even spaces.
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def wait_until_stopped(process):
    until = time.monotonic() + LIMIT
    while state(process) != "T":
        if time.monotonic() > until:
            raise TimeoutError(f"process {process} is not stopped")
        time.sleep(0.001)


@contextlib.contextmanager
def ending(processes):
    """At the end, also by an exception, all these processes have ended, too."""
    descriptors = [os.pidfd_open(process) for process in processes]
    try:
        yield
    finally:
        # A pidfd is readable when its process has ended.
        left = [descriptor for descriptor in descriptors if not select.select([descriptor], [], [], LIMIT)[0]]
        for descriptor in left:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        for descriptor in descriptors:
            os.close(descriptor)
        if left:
            raise AssertionError(f"{len(left)} workers of nginx were left")


class StallTests(unittest.TestCase):
    def setUp(self):
        self.process = subprocess.Popen(["sleep", "600"])
        self.descriptor = os.pidfd_open(self.process.pid)

    def tearDown(self):
        os.close(self.descriptor)
        self.process.kill()
        self.process.wait()

    def test_a_process_stops_and_goes_on_again_and_again(self):
        stalls = Stalls(self.descriptor, 2, 1)
        until = time.monotonic() + LIMIT
        while stalls.count < 3 and time.monotonic() < until:
            time.sleep(0.001)
        stalls.end()
        self.assertGreaterEqual(stalls.count, 3)

    def test_a_process_that_is_stopped_at_the_end_goes_on(self):
        stalls = Stalls(self.descriptor, **FOR_GOOD)
        wait_until_stopped(self.process.pid)
        stalls.end()
        self.assertNotEqual(state(self.process.pid), "T")

    def test_a_process_that_has_ended_is_no_failure(self):
        stalls = Stalls(self.descriptor, 2, 1)
        self.process.kill()
        self.process.wait()
        stalls.end()


class NginxTests(unittest.TestCase):
    def setUp(self):
        reason = why_not()
        if reason:
            self.skipTest(reason)

    def test_each_connection_is_greeted_while_a_worker_hangs(self):
        for listens_often in (False, True):
            with self.subTest(listens_often), RunningNginx(cores(), LIMIT, 2, listens_often, 40, 20) as server, \
                    Load("stuck", cores(), "--port", server.port, "--rate", 500, "--seconds", 0.4) as clients:
                report = clients.report(LIMIT)
                self.assertEqual((report["connections"], report["failed"]), (200, 0))
                server.end(LIMIT)

    def test_a_worker_with_a_queue_of_its_own_keeps_its_share_waiting(self):
        # The other worker has about half of 50 clients. The others wait until their time is up.
        with RunningNginx(cores(), LIMIT, 2, listens_often=True, **FOR_GOOD) as server:
            wait_until_stopped(server.workers()[-1])
            with Load("stuck", cores(), "--port", server.port, "--rate", 500, "--seconds", 0.1,
                      "--answer-limit", 0.5) as clients:
                report = clients.report(LIMIT)
            self.assertGreater(report["failed"], 0)
            self.assertGreater(report["connections"], 0)
            server.end(LIMIT)

    def test_it_ends_also_while_a_worker_is_stopped(self):
        with RunningNginx(cores(), LIMIT, 2, **FOR_GOOD) as server, ending(server.workers()):
            wait_until_stopped(server.workers()[-1])
            server.end(LIMIT)

    def test_a_failed_measurement_leaves_no_worker(self):
        with self.assertRaises(Failed), contextlib.ExitStack() as ended, \
                RunningNginx(cores(), LIMIT, 2, **FOR_GOOD) as server:
            ended.enter_context(ending(server.workers()))
            wait_until_stopped(server.workers()[-1])
            raise Failed("in the middle")

    def test_a_killed_program_leaves_no_worker(self):
        program = ("import sys\nfrom harness.nginx import RunningNginx\n"
                   f"server = RunningNginx({cores()}, {LIMIT}, 2, period=600_001, length=600_000)\n"
                   "print(*server.workers(), flush=True)\nsys.stdin.read()\n")
        with subprocess.Popen([sys.executable, "-c", program], cwd=BENCHMARKS, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as harness:
            workers = [int(word) for word in harness.stdout.readline().split()]
            self.assertEqual(len(workers), 2)
            with ending(workers):
                wait_until_stopped(workers[-1])
                harness.send_signal(signal.SIGKILL)

    def failure(self, configuration, limit):
        with mock.patch.object(nginx, "configuration", lambda *_: configuration):
            with self.assertRaises(Failed) as caught:
                RunningNginx(cores(), limit, 2)
        return str(caught.exception)

    def test_a_wrong_configuration_is_a_failure_with_its_words(self):
        failure = self.failure("daemon off; nonsense;\n", LIMIT)
        self.assertIn("nginx ended with 1", failure)
        self.assertIn('unknown directive "nonsense"', failure)

    def test_without_a_greeting_it_is_given_up(self):
        self.assertIn("nginx does not greet", self.failure("daemon off; pid pid; events {}\n", 0.2))


class MissingTests(unittest.TestCase):
    def skipped(self):
        return building.build_all([NGINX], Progress(discarded()))["nginx"]

    def test_without_nginx_its_rows_are_left_out_with_a_word(self):
        with mock.patch.object(nginx, "PATHS", "/nowhere"):
            self.assertEqual(self.skipped(), "nginx is not installed\n"
                             "    Debian's packages for it: nginx-light libnginx-mod-stream")

    def test_without_the_stream_module_too(self):
        with mock.patch.object(nginx, "stream_module", lambda: None), \
                mock.patch.object(nginx.Nginx, "program", lambda *_: Path("/bin/true")):
            self.assertIn("nginx has no stream module", self.skipped())
