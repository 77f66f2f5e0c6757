# SPDX-License-Identifier: Apache-2.0
"""One measurement of benchmarks/tls: a server, started for it, under one load of encrypted connections."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import measuring
from .nginx_tls import GREETING, RunningTLSNginx
from .places import PROGRAMS
from .processes import Failed, Load, RunningServer

TLS_LOAD_GENERATOR = PROGRAMS / "tls-load-generator"
FIRST_IDLE = 100
SETTLING = 2.5  # seconds: a sweep frees the buffers of what was idle for one
SILENT = 2000
FLOOD_AT_ONCE = 32
ESTABLISHED_RATE = 2000  # messages a second


@dataclass(frozen=True, kw_only=True)
class Setting(measuring.Setting):
    certificates: Path


class Clients(Load):
    """The load generator for TLS at work."""

    def __init__(self, mode, running, setting, *arguments):
        super().__init__(mode, setting.client_cores, "--port", running.port, "--cpu-of", running.pid, *arguments,
                         program=TLS_LOAD_GENERATOR)

    def wait_until_connected(self, seconds):
        line = self.line(seconds)
        if line != "connected":
            raise self.failed(f"said '{line}' instead of 'connected'")


def make_certificates(folder):
    """Two self-signed ones, by openssl: NAME.pem and NAME.key. Raises Failed."""
    for name, key in (("ecdsa", ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")), ("rsa", ("rsa:2048",))):
        command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-keyout", folder / f"{name}.key", "-out",
                   folder / f"{name}.pem", "-days", "30", "-subj", "/CN=localhost"]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise Failed(f"no certificates: {error}") from error


def measure(row, load, setting):
    """Figures by name. Raises Failed, also when the server did something wrong."""
    with _start(row, load, setting) as running:
        try:
            figures = MEASURES[load.kind](row, load, running, setting)
        except Failed as error:
            # The server's own words, if it has any, say more than the client's.
            raise running.failed(f"failed under its load: {error}") from None
        running.end(setting.limit)
    return figures


def _start(row, load, setting):
    certificate, key = (setting.certificates / f"{load.key}.{ending}" for ending in ("pem", "key"))
    if row.is_nginx:
        return RunningTLSNginx(setting.server_cores, setting.limit, certificate, key)
    return RunningServer(row.server, ["echo", certificate, key, *row.arguments], setting.server_cores, setting.limit)


def _times(setting):
    return "--seconds", setting.seconds, "--warm-up", setting.warm_up


def _latencies(report):
    latency = report["latency_ns"]
    if not latency:
        raise Failed("nothing came back in time")
    return {"p50_ns": latency["p50"], "p99_ns": latency["p99"], "max_ns": latency["max"]}


def _figures(report):
    if report["count"] == 0:
        raise Failed("nothing came back in time")
    return {"rate": report["rate"], "server_cpu_ns": report["server_cpu_ns"] / report["count"],
            "busy": report["server_cpu_ns"] / (report["seconds"] * 1e9), "resumed": report["resumed"] / report["count"],
            **_latencies(report)}


def _handshakes(row, load, running, setting):
    arguments = ["--connections", load.connections, "--size", len(GREETING) if row.is_nginx else load.size]
    arguments += ["--greeted"] if row.is_nginx else []
    arguments += ["--resume"] if load.resumes else []
    with Clients("handshakes", running, setting, *_times(setting), *arguments) as clients:
        return _figures(clients.report(setting.limit + setting.seconds))


def _echo(_, load, running, setting):
    with Clients("echo", running, setting, *_times(setting), "--connections", load.connections, "--size",
                 load.size) as clients:
        clients.wait_until_connected(setting.limit)
        clients.write_line()
        return _figures(clients.report(setting.limit + setting.seconds))


def _idle(_, load, running, setting):
    with Clients("echo", running, setting, "--connections", FIRST_IDLE) as first:
        first.wait_until_connected(setting.limit)
        time.sleep(SETTLING)
        before = running.memory()
        with Clients("echo", running, setting, "--connections", load.connections) as rest:
            rest.wait_until_connected(setting.limit)
            time.sleep(SETTLING)
            return {"bytes": max(0, running.memory() - before) / load.connections}


def _silent(_, load, running, setting):
    with Load("hold", setting.client_cores, "--port", running.port, "--connections", SILENT, "--sources", 8, "--deadline",
              setting.limit + setting.seconds) as silent:
        silent.report(setting.limit)
        with Clients("handshakes", running, setting, *_times(setting), "--connections", load.connections) as clients:
            report = clients.report(setting.limit + setting.seconds)
            return {"rate": report["rate"], **_latencies(report)}


def _flood(_, load, running, setting):
    with Clients("echo", running, setting, *_times(setting), "--connections", load.connections, "--rate",
                 ESTABLISHED_RATE, "--realtime") as established:
        established.wait_until_connected(setting.limit)
        with Clients("handshakes", running, setting, "--warm-up", setting.warm_up, "--seconds", setting.seconds,
                     "--connections", FLOOD_AT_ONCE) as flood:
            established.write_line()
            report = established.report(setting.limit + setting.seconds)
            shaken = flood.report(setting.limit + setting.seconds)
    return {**_latencies(report), "late_ns": report["late_ns"], "handshakes": shaken["rate"]}


MEASURES = {"handshakes": _handshakes, "echo": _echo, "idle": _idle, "silent": _silent, "flood": _flood}
