# SPDX-License-Identifier: Apache-2.0
"""Programs of others as clients: each sends bytes and has to get them back."""

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from hostile import network
from hostile.report import Failed, long_only, needs, scenario

from .server import PATIENT, SECONDS, Server

NAME = "www.example.com"
BYTES = bytes(range(256)) * 4096


def round_trip(connection, content):
    """What comes back, while more is sent: both sides' buffers are smaller."""
    connection.settimeout(SECONDS)
    answer, place = b"", 0
    while len(answer) < len(content):
        if place < len(content):
            place += connection.send(content[place:place + 65536])
        more = connection.recv(262144)
        if not more:
            break
        answer += more
    return answer


def piped(words, content, until):
    """Standard output of a client that is given the content, until it has that many bytes."""
    with subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        limit = threading.Timer(SECONDS, process.kill)
        limit.start()
        try:
            process.stdin.write(content)
            process.stdin.flush()
            answer = b""
            while until not in answer and (more := process.stdout.read1(65536)):
                answer += more
        except BrokenPipeError:
            pass  # It has ended, and its answer says so.
        finally:
            limit.cancel()
            process.kill()
    return answer


@contextlib.contextmanager
def stunnel_to(server, folder):
    """The port of a stunnel that encrypts what comes to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Path(folder, "stunnel.conf")
    settings.write_text("\n".join((
        "foreground = yes", "pid =", "[echo]", "client = yes", f"accept = 127.0.0.1:{port}", "TIMEOUTclose = 1",
        f"connect = 127.0.0.1:{server.port}", f"sni = {NAME}", "verifyChain = yes", f"checkHost = {NAME}",
        f"CAfile = {server.authority}")) + "\n", encoding="ascii")
    log = Path(folder, "stunnel.log")
    with log.open("w", encoding="utf-8") as output, subprocess.Popen(
            [shutil.which("stunnel4") or "stunnel", settings], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while True:
                try:
                    network.connect(port).close()
                    break
                except ConnectionRefusedError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise Failed(f"stunnel does not run: {log.read_text(encoding='utf-8')[-500:]}") from None
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()


@scenario("stunnel")
@needs("stunnel")
def stunnel(figures):
    """stunnel as a client, one connection after the other, and several at once"""
    with tempfile.TemporaryDirectory() as folder, Server(figures.programs, loops=2, timeout=PATIENT) as server, \
            stunnel_to(server, folder) as port:
        for number in range(5):
            with network.connect(port, timeout=SECONDS) as client:
                figures.check(f"connection {number} got other bytes", round_trip(client, BYTES) == BYTES)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(network.connect(port, timeout=SECONDS)) for _ in range(20)]
            for client in clients:
                client.sendall(b"together")
            figures.add("answers at once", sum(client.recv(8) == b"together" for client in clients), exactly=20)
        report = server.report_when(lambda report: report["current"] == 0, "handshakes are left")
        figures.add("failed handshakes", report["failed"], exactly=0)
        figures.add("sessions resumed", report["resumed"], at_least=1)


@scenario("piped")
@needs("gnutls-cli", "socat")
def piped_clients(figures):
    """gnutls-cli and socat"""
    text = b"some text\n" * 100 + b"the end\n"
    with Server(figures.programs, timeout=PATIENT) as server:
        commands = {
            "gnutls-cli": ("gnutls-cli", "--x509cafile", server.authority, "--sni-hostname", NAME, "--verify-hostname",
                           NAME, "--logfile", "/dev/null", "-p", server.port, "127.0.0.1"),
            "socat": ("socat", "-", f"OPENSSL:127.0.0.1:{server.port},cafile={server.authority},"
                                    f"commonname={NAME},snihost={NAME}"),
        }
        for name, words in commands.items():
            answer = piped(words, text, b"the end\n")
            figures.add(name, "the same" if answer.endswith(text) else f"{answer[-200:]}", exactly="the same")


@scenario("wrk")
@needs("wrk")
def wrk(figures):
    """wrk, which asks on many connections at once"""
    with Server(figures.programs, loops=2, timeout=PATIENT) as server:
        seconds = figures.many(2, 10)
        text = network.run("wrk", "-t", 2, "-c", 64, "-d", f"{seconds}s", f"https://127.0.0.1:{server.port}/",
                           timeout=seconds + 60)
        answered = re.search(r"^ *(\d+) requests in", text, re.MULTILINE)
        figures.add("answers", int(answered[1]) if answered else 0, at_least=100)
        # Said where there is one.
        figures.check(text, "Socket errors" not in text and "Non-2xx" not in text)
        report = server.report_when(lambda report: report["current"] == 0, "handshakes are left")
        figures.add("handshakes", report["completed"], at_least=64)
        figures.add("failed handshakes", report["failed"], exactly=0)


@scenario("NIO")
@long_only
def nio(figures):
    """SwiftNIO with swift-nio-ssl as a client"""
    for key in ("ecdsa", "rsa"):
        with Server(figures.programs, key, timeout=PATIENT) as server:
            answer = network.run(figures.programs.nio_client, server.port, server.authority, NAME, len(BYTES), timeout=120)
            figures.add(key, answer.strip(), exactly=f"{len(BYTES)} http/1.1")
