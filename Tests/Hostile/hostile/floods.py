# SPDX-License-Identifier: Apache-2.0
"""Packets that are no good: floods and scans."""

import subprocess
import time

from . import network
from .processes import EchoServer, Server, Subject
from .report import needs, percentile, scenario
from .slow_peers import ask

BLACK_HOLE = "10.99.0.1"


def make_black_hole():
    """An interface whose network answers nothing, and the way to every address that is not here."""
    if BLACK_HOLE not in network.run("ip", "-4", "addr"):
        network.run("ip", "tuntap", "add", "dev", "hole", "mode", "tun")
        network.run("ip", "addr", "add", f"{BLACK_HOLE}/24", "dev", "hole")
        network.run("ip", "link", "set", "hole", "up")
        network.run("ip", "route", "add", "default", "dev", "hole")
    for interface in ("all", "lo", "hole"):
        network.set_kernel(f"net.ipv4.conf.{interface}.rp_filter", 0)
    network.set_kernel("net.ipv4.tcp_syncookies", 1)


@scenario("syn-flood")
@needs("hping3")
def syn_flood(figures):
    """20,000 SYN a second from addresses that do not exist: who means it is served (G25, F24)."""
    seconds = figures.many(4, 60)
    make_black_hole()
    # Short enough to overflow, so that the kernel goes over to SYN cookies.
    with network.kernel_setting("net.core.somaxconn", 4096), Subject(figures, "close", "--address", "*") as subject:
        before = network.kernel_counters()
        cpu = subject.cpu_seconds()
        # About 20,000 a second, and no more than that in all.
        flood = subprocess.Popen(
            ["hping3", "-q", "-S", "-p", str(subject.port), "-i", "u10", "-c", str(20_000 * seconds), "--rand-source",
             BLACK_HOLE],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times, failures = [], 0
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                start = time.monotonic()
                try:
                    with network.connect(subject.port, "127.0.0.100", timeout=3) as client:
                        client.recv(1)
                    times.append(1000 * (time.monotonic() - start))
                except OSError:
                    failures += 1
                time.sleep(0.01)
        finally:
            flood.kill()
            flood.wait()
        after = network.kernel_counters()
        received = after["TcpInSegs"] - before["TcpInSegs"]
        figures.add("segments received", received / seconds, "/s", at_least=500)
        figures.add("SYN cookies sent", after["TcpExtSyncookiesSent"] - before["TcpExtSyncookiesSent"])
        figures.add("good clients served within 3 s", 100 * len(times) / (len(times) + failures), "%", at_least=99)
        figures.add("p99", percentile(times, 0.99), "ms")
        figures.add("CPU of the server", 100 * (subject.cpu_seconds() - cpu) / seconds, "% of a core", at_most=5)
        # A client that has given up may have been accepted, or come to be.
        accepted = subject.statistics()["accepted"]
        figures.add("accepted beside good clients", accepted - len(times), at_least=0, at_most=failures)
        subject.judge(figures, accepted)


def scan(ports, is_long):
    """The scans of nmap, those with odd flags among them."""
    numbers = ",".join(str(port) for port in ports)
    kinds = ["-sS", "-sT", "-sN", "-sF", "-sX", "-sA", "-sM", "-sW"]
    # Asking an echo server for its version takes its time.
    probing = ["-O", "--osscan-guess"] + (["-sV", "--host-timeout", "240s"] if is_long else [])
    for options in [[kind] for kind in kinds] + [["-sS", *probing]]:
        network.run("nmap", "-n", "-Pn", "-T5", "--max-retries", "1", "-p", numbers, *options, "127.0.0.1", timeout=300)


@scenario("nmap")
@needs("nmap")
def nmap(figures):
    """Every kind of scan of three servers: they go on serving, and say nothing (F44)."""
    with Subject(figures, "echo") as subject, EchoServer(figures, "--http") as http, \
            Server([figures.programs.c_echo, "127.0.0.1", "0"]) as c_echo:
        scan([subject.port, http.port, c_echo.port], figures.is_long)
        for name, server in (("C", subject), ("C example", c_echo)):
            with network.connect(server.port) as client:
                client.sendall(b"x")
                figures.add(f"{name}: an echo afterwards", client.recv(1).decode(), exactly="x")
            server.judge_silence(figures)
        subject.wait_until("all have ended", lambda: subject.statistics()["held"] == 0)
        now = subject.statistics()
        figures.add("C: accepted", now["accepted"], at_least=2)
        subject.judge(figures, now["accepted"])
        figures.add("C: errors told", now["told"], exactly=0)
        figures.add("HTTP: an answer afterwards", ask(http.port), "ms")
        http.stop()
        figures.add("HTTP: served", http.served(), at_least=2)
        http.judge_silence(figures)
