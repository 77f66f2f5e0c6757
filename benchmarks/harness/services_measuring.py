# SPDX-License-Identifier: Apache-2.0
"""One measurement of benchmarks/services: a program, started for it, under one load."""

import contextlib
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .nginx import end_with_parent
from .processes import Failed, Load, Process, cpu_time_of_all

GIBIBYTE = 1 << 30
# Of redis-benchmark, for each second that counts: about what one core serves.
COMMANDS_A_SECOND = 800_000


class RunningProgram(Process):
    """A program of a row, which listens."""

    def __init__(self, row, setting, upstream=0):
        self._folder = tempfile.TemporaryDirectory()
        try:
            words = {"port": free_port(), "upstream": upstream, "folder": self._folder.name}
            if row.configuration:
                path = Path(self._folder.name) / "configuration"
                path.write_text(row.configuration.format(**words), encoding="utf-8")
            command = [part.format(**words) for part in row.command]
            super().__init__(row.name, command, setting.server_cores, row.environment, prepare=end_with_parent)
            self._ends_with_input = row.says_port
            self.port = self._said_port(setting.limit) if row.says_port else words["port"]
            self._wait_until_it_listens(setting.limit)
        except BaseException:
            self.__exit__()
            raise

    def _said_port(self, limit):
        line = self.line(limit)
        match = re.fullmatch(r"port (\d+)", line)
        if not match:
            raise self.failed(f"said '{line}' instead of its port")
        return int(match[1])

    def _wait_until_it_listens(self, limit):
        """Without connecting, which a relay would pass on."""
        until = time.monotonic() + limit
        while not listens(self.port):
            if self.has_ended():
                raise self.failed("ended before it listened")
            if time.monotonic() > until:
                raise self.failed(f"does not listen after {limit:g} s")
            time.sleep(0.01)

    def cpu(self):
        try:
            return cpu_time_of_all(self.pid)
        except OSError:
            raise self.failed("ended under its load") from None

    def finish(self, limit):
        """Ends it: those of others by a signal, and with whatever status they have for that."""
        if self._ends_with_input:
            return self.end(limit)
        if self.has_ended():
            raise self.failed("ended under its load")
        self.terminate()
        # What is ended by force leaves its children.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(limit)
        return None

    def __exit__(self, *_):
        if hasattr(self, "_child"):
            super().__exit__()
        self._folder.cleanup()


def free_port():
    """In a network namespace of its own no other program takes it before the one that it is for."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return reserved.getsockname()[1]


def listens(port):
    with open("/proc/net/tcp", encoding="ascii") as table:
        # State 0A is LISTEN.
        return any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in table)


def measure(row, load, setting):
    """Figures by name. Raises Failed, also when the program did something wrong."""
    return {"relay": _relay, "resp": _resp, "http": _http}[load.kind](row, load, setting)


def _relay(row, load, setting):
    deadline = setting.limit + setting.seconds + setting.warm_up
    with Load("relay", setting.client_cores, *load.arguments, "--seconds", setting.seconds, "--warm-up", setting.warm_up,
              "--deadline", deadline) as clients:
        match = re.fullmatch(r"port (\d+)", clients.line(setting.limit))
        with RunningProgram(row, setting, upstream=int(match[1])) as running:
            clients.write_line(str(running.port))
            try:
                if clients.line(deadline) != "opened":
                    raise clients.failed("said something else than when it began to count")
                before = running.cpu()
                report = clients.report(deadline)
            except Failed as error:
                raise running.failed(f"failed under its load: {error}") from None
            used = running.cpu() - before
            clients.end(setting.limit)
            running.finish(setting.limit)
    if report["bytes"] == 0:
        raise Failed(f"{row.name} passed nothing on")
    return {"cpu_ns": used / report["bytes"] * GIBIBYTE, "rate": report["bytes"] / report["seconds"],
            "busy": used / (report["seconds"] * 1e9), "stalled_bytes": report["stalled_bytes"]}


def _resp(row, load, setting):
    (kind,) = load.arguments
    count = int(COMMANDS_A_SECOND * setting.seconds)
    with RunningProgram(row, setting) as running:
        _run_commands(running, "set", count if kind == "get" else count // 10, setting)
        before = running.cpu()
        rate = _run_commands(running, kind, count, setting)
        used = running.cpu() - before
        running.finish(setting.limit)
    return {"cpu_ns": used / count, "rate": rate, "busy": used * rate / count / 1e9}


def _run_commands(running, kind, count, setting):
    """The rate that redis-benchmark reports."""
    said = _run("redis-benchmark", ["redis-benchmark", "-h", "127.0.0.1", "-p", running.port, "-t", kind, "-n", count,
                                    "-c", 50, "-P", 16, "-r", 10000, "-d", 16, "--csv"], setting)
    match = re.search(rf'"{kind.upper()}","([\d.]+)"', said)
    if not match or "rror" in said.replace("ERROR: failed to fetch CONFIG", ""):
        raise running.failed(f"was not measured by redis-benchmark, which said: {said}")
    return float(match[1])


def _http(row, load, setting):
    with RunningProgram(row, setting) as running:
        _check_hello(running, setting.limit)
        before = running.cpu()
        said = _run("wrk", ["wrk", "-t", 1, "-c", 64, "-d", f"{max(1, round(setting.seconds))}s",
                            f"http://127.0.0.1:{running.port}/"], setting)
        used = running.cpu() - before
        running.finish(setting.limit)
    count, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s*([\d.]+)", said)
    wrong = re.search(r"Non-2xx.*|Socket errors.*", said)
    if not count or not rate or int(count[1]) == 0 or wrong:
        raise Failed(f"wrk did not measure {row.name}: {wrong[0] if wrong else said}")
    return {"cpu_ns": used / int(count[1]), "rate": float(rate[1]), "busy": used * float(rate[1]) / int(count[1]) / 1e9}


def _check_hello(running, limit):
    with socket.create_connection(("127.0.0.1", running.port), limit) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\nhello\n"):
            more = client.recv(4096)
            if not more:
                raise running.failed(f"answered {answer!r}")
            answer += more


def _run(name, command, setting):
    """What the clients print; they end by themselves."""
    with Process(name, command, setting.client_cores) as clients:
        said = clients.rest(setting.limit + 4 * setting.seconds)
    return said
