# SPDX-License-Identifier: Apache-2.0
"""Limits for one source, and rates: one source floods, and the others are served."""

import contextlib
import select
import socket
import threading
import time

from . import network
from .processes import Server
from .report import Failed, Skipped, percentile, scenario

IPV6_FREEBIND = 78
SERVER_6 = "2001:db8::1"
FLOODER_4 = "127.9.9.9"


def flooder_6(index):
    """Addresses of one /56, which is one source."""
    return f"2001:db8:0:1{index % 256:02x}::{index + 1:x}"


def other_4(index):
    return f"127.1.{index // 250}.{1 + index % 250}"


def other_6(index):
    """Each of a /56 of its own."""
    return f"2001:db8:{1 + index:x}::1"


def use_ipv6():
    """All of 2001:db8::/32 is this machine's."""
    try:
        network.run("ip", "-6", "route", "replace", "local", "2001:db8::/32", "dev", "lo")
    except OSError as error:
        raise Skipped(f"there is no IPv6 here ({error})") from None


def connect(port, source):
    client = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(10)
    try:
        if client.family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        client.setsockopt(socket.IPPROTO_IP, network.IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((source, 0))
        client.connect((SERVER_6 if client.family == socket.AF_INET6 else "127.0.0.1", port))
    except BaseException:
        client.close()
        raise
    return client


def is_served(client):
    """Whether a byte comes back; a client that is rejected is reset."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except OSError:
        return False


def ask(port, source):
    """Milliseconds of a client that is served; None of one that is not."""
    start = time.monotonic()
    try:
        with connect(port, source) as client:
            return 1000 * (time.monotonic() - start) if is_served(client) else None
    except OSError:
        return None


class Flood(threading.Thread):
    """Connects from one source as often as it can, and keeps what it gets."""

    def __init__(self, port, address):
        super().__init__()
        self.port, self.address = port, address
        self.over = threading.Event()
        self.attempts = 0
        self.kept = []

    def run(self):
        while not self.over.is_set():
            # The server may reject a client before that has asked whether it is connected.
            try:
                client = connect(self.port, self.address(self.attempts))
                if is_served(client):
                    self.kept.append(client)
                else:
                    client.close()
            except ConnectionError:
                pass
            except OSError:
                self.over.wait(0.01)
            self.attempts += 1

    def end(self):
        self.over.set()
        self.join()


class LimitedEcho(Server):
    """EchoServer on all addresses, with limits for what one source may have."""

    def __init__(self, figures, *arguments):
        super().__init__([figures.programs.echo_server, "--address", "*", "--port", "0", "--max-connections", "1000000",
                          "--first-byte", "3600", "--idle", "3600", *arguments])


def flood(figures, server, count):
    """Of both families; what the others get meanwhile."""
    floods = [Flood(server.port, lambda _: FLOODER_4), Flood(server.port, flooder_6)]
    for each in floods:
        each.start()
    times = []
    try:
        server.wait_until("both flood", lambda: all(each.attempts > 100 for each in floods), 30)
        for index in range(count):
            times += [ask(server.port, other_4(index)), ask(server.port, other_6(index))]
    finally:
        for each in floods:
            each.end()
    served = [one for one in times if one is not None]
    figures.add("other sources, IPv4 and IPv6", 2 * count)
    figures.add("of these served", len(served), exactly=2 * count)
    figures.add("p99", percentile(served, 0.99), "ms")
    return floods


@scenario("source-limit")
def source_limit(figures):
    """A source has as many connections as it may, however many it asks for, and others get theirs."""
    use_ipv6()
    most = 20
    with LimitedEcho(figures, "--per-source", most, "--loops", 2) as server:
        ask(server.port, other_4(0))
        memory = server.memory()
        floods = flood(figures, server, figures.many(250, 5000))
        for name, each in zip(["IPv4", "IPv6, 256 networks of a /56"], floods):
            figures.add(f"attempts of one source, {name}", each.attempts, at_least=100)
            figures.add("connections that it keeps", len(each.kept), exactly=most)
        figures.add("memory for all of it", (server.memory() - memory) / 1024, "KiB", at_most=8192)
        for client in floods[0].kept:
            client.close()
        # Its places come back when the server has seen the ends.
        server.wait_until("the source is served again", lambda: ask(server.port, FLOODER_4) is not None)
        for client in floods[1].kept:
            client.close()
        server.stop()
        server.judge_silence(figures)


@scenario("source-rate")
def source_rate(figures):
    """A source connects as fast as it may, and others at once."""
    use_ipv6()
    rate = 20
    with LimitedEcho(figures, "--source-rate", rate, "--loops", 2) as server:
        start = time.monotonic()
        floods = flood(figures, server, figures.many(250, 5000))
        seconds = time.monotonic() - start
        for name, each in zip(["IPv4", "IPv6, 256 networks of a /56"], floods):
            figures.add(f"attempts of one source, {name}", each.attempts, at_least=100)
            # As many as in a second at once, and then the rate.
            figures.add("served", len(each.kept), at_least=rate, at_most=rate + int(rate * seconds) + 1)
            for client in each.kept:
                client.close()
        server.stop()
        server.judge_silence(figures)


@scenario("accept-rate")
def accept_rate(figures):
    """At a rate of accepting clients wait in the kernel's queue, and none is lost; the server sleeps meanwhile."""
    rate, seconds = 200, figures.many(3, 20)
    count = rate * (1 + seconds)
    with LimitedEcho(figures, "--accept-rate", rate) as server:
        switches, start = server.voluntary_switches(), time.monotonic()
        clients = [network.begin_connect(server.port, network.source(index)) for index in range(count)]
        poller = select.poll()
        by_number = {client.fileno(): client for client in clients}
        for number in by_number:
            poller.register(number, select.POLLOUT)
        waiting, served = set(by_number), []
        while waiting and time.monotonic() - start < seconds + 30:
            for number, events in poller.poll(100):
                if events & select.POLLOUT and number in waiting and not events & (select.POLLERR | select.POLLHUP):
                    with contextlib.suppress(OSError):
                        by_number[number].send(b"x")
                    poller.modify(number, select.POLLIN)
                else:
                    poller.unregister(number)
                    waiting.discard(number)
                    with contextlib.suppress(OSError):
                        if by_number[number].recv(1) == b"x":
                            served.append(time.monotonic() - start)
        if not served:
            raise Failed("no client was served")
        figures.add("clients at once", count)
        figures.add("served", len(served), exactly=count)
        figures.add("seconds for all beyond the first second's", max(served), "s", at_least=seconds * 0.98)
        figures.add("accepted in a second after that", (count - rate) / max(served), "a second", at_most=rate * 1.02)
        figures.add("times that the server went to sleep for each client",
                    (server.voluntary_switches() - switches) / count, at_most=6)
        for client in clients:
            client.close()
        server.stop()
        server.judge_silence(figures)
