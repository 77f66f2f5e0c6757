# SPDX-License-Identifier: Apache-2.0
"""Peers who take their time, and a client who should not notice."""

import random
import select
import subprocess
import threading
import time

from . import network
from .processes import EchoServer
from .report import Failed, needs, percentile, scenario

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"

# Milliseconds for a good client: 50 is the goal on a machine of its own.
MOST = 150


def ask(port):
    """A client as they should be; milliseconds from connecting to the end of the answer."""
    start = time.monotonic()
    with network.connect(port, "127.0.0.100") as client:
        client.sendall(REQUEST)
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"hello\n"):
        raise Failed(f"a good client got {answer!r}")
    return 1000 * (time.monotonic() - start)


def ask_for(port, seconds):
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        times.append(ask(port))
        time.sleep(0.005)
    return times


class Trickle(threading.Thread):
    """Sends a byte of a request that never ends, now to this peer, now to that."""

    def __init__(self, clients):
        super().__init__()
        self.clients = clients
        self.over = threading.Event()
        self.sent = 0

    def run(self):
        chooser = random.Random(1)
        while not self.over.wait(0.01):
            for client in chooser.sample(self.clients, 20):
                try:
                    client.send(b"X-a: b\r\n"[self.sent % 8:][:1])
                    self.sent += 1
                except OSError:
                    pass  # cut off by the server, which may do so


@scenario("slow-requests")
def slow_requests(figures):
    """Silent and trickling peers of an HTTP server: a good client is served at once (G15, F23)."""
    silent, trickling = figures.many(2000, 5000), figures.many(1000, 2000)
    with EchoServer(figures, "--http") as server:
        ask_for(server.port, 0.3)
        memory = server.memory()
        peers = [network.connect(server.port, network.source(index)) for index in range(silent + trickling)]
        for peer in peers[silent:]:
            peer.sendall(b"GET / HTTP/1.1\r\n")
        trickle = Trickle(peers[silent:])
        trickle.start()
        times = ask_for(server.port, figures.many(3, 30))
        trickle.over.set()
        trickle.join()
        figures.add("silent and trickling peers", len(peers))
        figures.add("bytes trickled", trickle.sent, at_least=100)
        figures.add("good clients served", len(times), at_least=50)
        figures.add("median", percentile(times, 0.5), "ms")
        figures.add("p99", percentile(times, 0.99), "ms", at_most=MOST)
        figures.add("memory for each peer", (server.memory() - memory) / len(peers), "bytes", at_most=4608)
        for peer in peers:
            peer.close()
        server.stop()
        server.judge_silence(figures)


@scenario("slow-readers")
def slow_readers(figures):
    """Peers who ask and ask and never read: what the server holds for them is bounded (F23)."""
    count = figures.many(100, 1000)
    # What the kernel holds for them is its own business, and should not take long to fill.
    with network.kernel_setting("net.ipv4.tcp_wmem", "4096 16384 131072"), EchoServer(figures, "--http") as server:
        ask_for(server.port, 0.3)
        memory = server.memory()
        peers = [network.connect(server.port, network.source(index), receive_buffer=4096) for index in range(count)]
        requests = REQUEST.replace(b"Connection: close\r\n", b"") * 200
        offered = 0
        poller = select.poll()
        for peer in peers:
            peer.setblocking(False)
        # Until the kernel takes no more from any of them for a while.
        quiet = 0
        while quiet < 20:
            progress = 0
            for peer in peers:
                try:
                    progress += peer.send(requests)
                except BlockingIOError:
                    pass
            offered += progress
            quiet = 0 if progress else quiet + 1
            poller.poll(10)
        times = ask_for(server.port, figures.many(1, 10))
        figures.add("megabytes of requests", offered / 1e6)
        figures.add("p99", percentile(times, 0.99), "ms", at_most=MOST)
        figures.add("memory for each peer", (server.memory() - memory) / count / 1024, "KiB", at_most=512)
        for peer in peers:
            peer.close()
        server.stop()
        server.judge_silence(figures)


# By its four modes: what it is told, what the server is told, and in how many seconds the last connection has to have
# ended, and a second, or more where the machine is busy. A rate ends a slow client within two windows of ten seconds.
# Small answers are taken by the client's kernel, however slowly its program reads: there the idle time counts.
HTTP_ATTACKS = (
    ("headers", ["-H", "-i", "1"], ["--minimum-rate", "500"], 20),
    ("bodies", ["-B", "-i", "1", "-s", "8192"], ["--minimum-rate", "500"], 20),
    ("ranges", ["-R", "-a", "1", "-b", "3000"], ["--idle", "3"], 3),
    ("reading", ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "1", "-k", "3"], ["--minimum-rate", "500", "--idle", "8"], 20))
LATE = 6


@scenario("connection-policy")
@needs("slowhttptest", "ss")
def connection_policy(figures):
    """The tool slowhttptest in its four modes: a policy ends its connections, and those of no good client."""
    count = figures.many(200, 2000)
    attacks = [AttackedServer(figures, *attack, count) for attack in HTTP_ATTACKS]
    try:
        until = time.monotonic() + max(attack.limit for attack in attacks) + LATE
        start = time.monotonic()
        # The tools need a moment to connect.
        while any([attack.is_going_on() for attack in attacks]) or time.monotonic() < start + 5:
            if time.monotonic() > until:
                break
            for attack in attacks:
                ask(attack.server.port)
            time.sleep(0.05)
        for attack in attacks:
            attack.judge(figures)
    finally:
        for attack in attacks:
            attack.end()


class AttackedServer:
    """A server, and a tool that holds connections to it for longer than the server is to let it."""

    FEW = 5

    def __init__(self, figures, form, options, limits, limit, count):
        self.form, self.limit, self.count = form, limit, count
        self.last = 0.0  # when there were more than a few
        deadlines = [] if "--idle" in limits else ["--idle", "600"]
        self.server = EchoServer(figures, "--http", "--first-byte", "600", *deadlines, *limits)
        ask(self.server.port)
        self.before = self.server.descriptors()
        self.start = time.monotonic()
        self.tool = subprocess.Popen(
            ["slowhttptest", *options, "-c", str(count), "-r", str(count), "-l", "60", "-p", "5",
             "-u", f"http://127.0.0.1:{self.server.port}/"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_going_on(self):
        # By descriptors, because the kernel remembers connections for longer. Some are those of good clients.
        now = self.server.descriptors() - self.before
        if now >= self.FEW:
            self.last = time.monotonic() - self.start
        return now >= self.FEW

    def judge(self, figures):
        figures.add(f"{self.form}: all but a few ended after", self.last, "s", at_most=self.limit + LATE)
        self.server.stop()
        figures.add(f"{self.form}: served", self.server.served(), at_least=self.count)
        self.server.judge_silence(figures)

    def end(self):
        self.tool.kill()
        self.tool.wait()
        self.server.__exit__()


@scenario("slowhttptest")
@needs("slowhttptest")
def slowhttptest(figures):
    """The tool of that name, with slow headers, slow bodies and slow reading (G15, F23)."""
    count, seconds = figures.many(1000, 4000), figures.many(3, 30)
    forms = [("headers", ["-H"]), ("bodies", ["-B"]), ("reading", ["-X", "-w", "10", "-y", "20"])]
    for form, options in figures.many(forms[:1], forms):
        with EchoServer(figures, "--http") as server:
            tool = subprocess.Popen(
                ["slowhttptest", *options, "-c", str(count), "-r", str(count), "-i", "1", "-l", str(seconds), "-p", "5",
                 "-u", f"http://127.0.0.1:{server.port}/"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                times = ask_for(server.port, seconds)
                tool.wait(30)
            finally:
                tool.kill()
                tool.wait()
            figures.add(f"{form}: p99", percentile(times, 0.99), "ms", at_most=MOST)
            server.stop()
            figures.add(f"{form}: served", server.served(), at_least=count)
            server.judge_silence(figures)
