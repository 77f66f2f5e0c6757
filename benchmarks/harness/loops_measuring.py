# SPDX-License-Identifier: Apache-2.0
"""One measurement of benchmarks/loops: a server with several event loops, started for it, under one load."""

import re
import subprocess
import time
from dataclasses import dataclass

from . import balance, measuring
from .loops_rows import STALL_PERIOD, STALL_TIME, WORK_FLOOR
from .nginx import RunningNginx
from .places import PROGRAMS
from .processes import Failed, Load, RunningServer

CONNECTIONS, SIZE = 64, 64  # of work


@dataclass(frozen=True, kw_only=True)
class Setting(measuring.Setting):
    burn_rounds: int  # of one request
    rate: int = 2000  # of stuck, connections a second


def choose_cores(cores):
    """Two for the servers and another one for the clients, or all for both where there are no more than two. The loads
    are for two loops, so a third core would be idle."""
    cores = sorted(cores)
    return (set(cores[:1]), set(cores[1:3])) if len(cores) > 2 else (set(cores), set(cores))


def calibrate(microseconds, cores, limit=30):
    """How many rounds of the servers' arithmetic take so long."""
    command = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), PROGRAMS / WORK_FLOOR, "echo",
               "--burn-microseconds", str(microseconds)]
    try:
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=limit, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"the work of a request cannot be measured: {error}") from error
    match = re.search(r"--burn-rounds (\d+)$", done.stderr.strip())
    if not match:
        raise Failed(f"the work of a request cannot be measured: {done.stderr.strip()}")
    return int(match[1])


def measure(row, load, setting):
    """Figures by name. Raises Failed, also when the server did something wrong."""
    with _start(row, load, setting) as running:
        if load.kind == "balance":
            figures = balance.measure(running, load.loops, setting.limit)
        else:
            figures = {"work": _work, "stuck": _stuck, "idle": _idle}[load.kind](running, setting)
        running.end(setting.limit)
    return figures


def _start(row, load, setting):
    stalls = (STALL_PERIOD, STALL_TIME) if load.kind == "stuck" else (0, 0)
    if row.is_nginx:
        return RunningNginx(setting.server_cores, setting.limit, load.loops, row.listens_often, *stalls)
    arguments = ["echo", "--loops", load.loops, *row.arguments]
    if load.kind == "work":
        arguments += ["--burn-rounds", setting.burn_rounds]
    if load.kind == "stuck":
        arguments += ["--stall-period", STALL_PERIOD, "--stall-time", STALL_TIME, *row.stall_arguments]
    return RunningServer(row.server, arguments, setting.server_cores, setting.limit)


def _report(running, setting, mode, *arguments):
    seconds = setting.limit + setting.seconds + setting.warm_up
    with Load(mode, setting.client_cores, "--port", running.port, "--seconds", setting.seconds,
              "--warm-up", setting.warm_up, "--deadline", seconds, *arguments) as clients:
        try:
            report = clients.report(seconds)
        except Failed as error:
            # The server's own words, if it has any, say more than the client's.
            raise running.failed(f"failed under its load: {error}") from None
        clients.end(setting.limit)
    return report


def _work(running, setting):
    report = _report(running, setting, "echo", "--connections", CONNECTIONS, "--size", SIZE)
    return {"rate": report["rate"]}


def _idle(running, setting):
    """What a server does that has nothing to do: how often a thread of it goes to sleep again, and its CPU time."""
    time.sleep(1)  # what a start leaves behind
    began, wakes, used = time.monotonic(), running.wakes(), running.cpu_time()
    time.sleep(setting.seconds)
    passed = time.monotonic() - began
    return {"wakes": (running.wakes() - wakes) / passed, "idle_cpu_ns": (running.cpu_time() - used) / passed}


def _stuck(running, setting):
    report = _report(running, setting, "stuck", "--rate", setting.rate)
    latency = report["latency_ns"]
    return {"p50_ns": latency["p50"], "p99_ns": latency["p99"], "max_ns": latency["max"], "failed": report["failed"],
            "connections": report["connections"], "begun_late_ns": report["begun_late_ns"]}
