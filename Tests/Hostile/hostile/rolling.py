# SPDX-License-Identifier: Apache-2.0
"""Servers that are stopped one after the other while clients come all the time, as load balancers send them."""

import collections
import errno
import multiprocessing
import re
import select
import signal
import socket
import struct
import time

from . import network
from .processes import EchoServer
from .report import Failed, percentile, scenario

MOST_AT_ONCE = 2000
PATIENCE = 10
HELD = 20
# What the library accepts in one turn of its loop.
BATCH = 64
# How long a server that ends waits for the first byte of a client (TCPSocket.timeForFirstByte).
FIRST_BYTE = 1.0
# Where tcpi_total_retrans is in struct tcp_info.
RETRANSMISSIONS = 100

# A client that was not served: when it began, sent its byte (or None) and ended, why, and how many segments it has sent
# again.
Failure = collections.namedtuple("Failure", "begun asked ended why retransmissions")


def is_own_fault(failure):
    """Whether the machine that runs the client is the reason: it was late with its first byte, or segments were lost, which
    on loopback is where the kernel's own queue of packets is full. Whether a server's queue was is judged apart."""
    return failure.retransmissions > 0 or (failure.asked or failure.ended) - failure.begun >= FIRST_BYTE


class Clients:
    """Connects so many times a second, in a process of its own; each client has one byte sent back."""

    def __init__(self, port, rate):
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=lambda: Generator(theirs, port, rate).run(), daemon=True)
        self._process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.join()

    def _ask(self, *question, seconds=60):
        self._pipe.send(question)
        if not self._pipe.poll(seconds):
            raise Failed(f"the clients have not answered to {question[0]} for {seconds} s")
        return self._pipe.recv()

    def go_to(self, port):
        """The next clients connect there."""
        self._ask("port", port)

    def failures(self, port):
        """How many clients of a server were not served until now."""
        return self._ask("failures", port)

    def results(self, port):
        """Of a server's clients, (begun, ended) of those that were served and the Failure of each other; once all of them
        have ended."""
        return self._ask("results", port)


class Generator:
    """The process of Clients."""

    def __init__(self, pipe, port, rate):
        self._pipe = pipe
        self._port = port
        self._interval = 1 / rate
        self._poller = select.epoll()
        self._poller.register(pipe.fileno(), select.EPOLLIN)
        self._clients = {}
        self._asked = {}
        self._at_work = collections.Counter()
        self._served = collections.defaultdict(list)
        self._failed = collections.defaultdict(list)
        self._wanted = None

    def run(self):
        following = time.monotonic()
        while True:
            now = time.monotonic()
            # What the machine was too slow for is left out, not done at once.
            following = max(following, now - 0.1)
            while following <= now and len(self._clients) < MOST_AT_ONCE:
                self._begin(now)
                following += self._interval
            for descriptor, events in self._poller.poll(min(max(following - now, 0), 0.01)):
                if descriptor == self._pipe.fileno():
                    self._obey(*self._pipe.recv())
                elif descriptor in self._clients:
                    self._advance(descriptor, events)
            self._end_late(now)
            if self._wanted and not self._at_work[self._wanted]:
                # A later server may get the port.
                self._pipe.send((self._served.pop(self._wanted, []), self._failed.pop(self._wanted, [])))
                self._wanted = None

    def _obey(self, word, port):
        if word == "port":
            self._port = port
            self._pipe.send(None)
        elif word == "failures":
            self._pipe.send(len(self._failed[port]))
        else:
            self._wanted = port

    def _begin(self, now):
        port = self._port
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.setsockopt(socket.IPPROTO_IP, network.IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((network.source(len(self._served[port])), 0))
        error = client.connect_ex(("127.0.0.1", port))
        if error not in (0, errno.EINPROGRESS):
            client.close()
            self._failed[port].append(Failure(now, now, time.monotonic(), errno.errorcode[error], 0))
            return
        self._clients[client.fileno()] = (client, port, now)
        self._asked[client.fileno()] = None
        self._at_work[port] += 1
        self._poller.register(client.fileno(), select.EPOLLOUT)

    def _advance(self, descriptor, events):
        client, port, begun = self._clients[descriptor]
        try:
            error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, "")
            if events & select.EPOLLIN:
                self._end(descriptor, None if client.recv(1) == b"x" else "ended without an answer")
            else:
                client.send(b"x")
                self._asked[descriptor] = time.monotonic()
                self._poller.modify(descriptor, select.EPOLLIN)
        except OSError as failure:
            self._end(descriptor, errno.errorcode[failure.errno])

    def _end(self, descriptor, failure):
        client, port, begun = self._clients.pop(descriptor)
        asked = self._asked.pop(descriptor)
        again = 0
        if failure is not None:
            information = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RETRANSMISSIONS + 4)
            again, = struct.unpack_from("I", information, RETRANSMISSIONS)
        client.close()
        self._at_work[port] -= 1
        if failure is None:
            self._served[port].append((begun, time.monotonic()))
        else:
            self._failed[port].append(Failure(begun, asked, time.monotonic(), failure, again))

    def _end_late(self, now):
        # In the order in which they were begun.
        while self._clients:
            descriptor, (_, _, begun) = next(iter(self._clients.items()))
            if now - begun < PATIENCE:
                break
            self._end(descriptor, "timed out")


class Rollout:
    """What the stops have brought together."""

    def __init__(self, figures, delay):
        self.figures = figures
        self.delay = delay
        self.served = self.during_delay = self.lost_late = self.own_faults = 0
        self.kinds = collections.Counter()
        self.ends = []

    def start(self, number):
        """A server, of one loop or two, and connections that stay until it ends."""
        server = EchoServer(self.figures, "--loops", str(1 + number % 2), "--grace", "30", "--drain-delay",
                            str(self.delay))
        held = [network.connect(server.port) for _ in range(HELD)]
        return server, held

    def echo(self, held):
        for client in held:
            client.sendall(b"x")
        return sum(client.recv(1) == b"x" for client in held)

    def stop(self, clients, server, held, following, notices):
        """Ends one server. The load balancer notices within the delay, or not before clients are refused."""
        check = self.figures.check
        signalled = time.monotonic()
        server.child.send_signal(signal.SIGTERM)
        check("it did not say that it ends", "Ends soon" in server.line())
        announced = time.monotonic()
        check("a held connection had no echo during the delay", self.echo(held) == HELD)
        if notices:
            time.sleep(max(signalled + self.delay / 2 - time.monotonic(), 0))
        else:
            server.wait_until("a client is refused", lambda: clients.failures(server.port) > 0, step=0.02)
        clients.go_to(following.port)
        moved = time.monotonic()
        served, failed = clients.results(server.port)
        check("a held connection did not end in order", all(client.recv(1) == b"" for client in held))
        for client in held:
            client.close()
        check("its status is not 0", server.child.wait(40) == 0)
        said = [server.served(), int(re.search(r"the delay: (\d+)", server.line()).group(1))]
        server.judge_silence(self.figures)

        over = signalled + self.delay
        own_faults = [failure for failure in failed if notices and is_own_fault(failure)]
        self.own_faults += len(own_faults)
        failed = [failure for failure in failed if failure not in own_faults]
        early = [failure.why for failure in failed if failure.ended < over]
        self.kinds.update(early)
        self.lost_late += len(failed) - len(early)
        # Where this process was held up, the load balancer has noticed too late.
        in_time = notices and moved < over
        check(f"{len(failed)} clients were lost that the load balancer sent in time, {over - moved:.3f} s before the end of "
              f"the delay, at {over:.3f}: {failed[:5]}", not in_time or not failed)
        self.served += len(served)
        least = len(served) + HELD
        check(f"it served {said[0]} and not {least}", least <= said[0] <= least + len(failed) + len(own_faults))
        # But for what the loop accepted with the announcement.
        sure = sum(begun > announced and ended < over for begun, ended in served)
        self.during_delay += sure
        check(f"it accepted {said[1]} during the delay, and not {sure}", said[1] + BATCH >= sure)
        if not notices and failed:
            self.ends.append(min(failure.ended for failure in failed) - signalled - self.delay)


@scenario("rolling-stops")
def rolling_stops(figures):
    """Servers stopped with a delay while clients come: none is refused before the delay is over."""
    stops, rate = figures.many(4, 100), figures.many(1000, 5000)
    rollout = Rollout(figures, delay=figures.many(0.5, 1.0))
    before = network.kernel_counters()
    server, held = rollout.start(0)
    start = time.monotonic()
    try:
        with Clients(server.port, rate) as clients:
            for number in range(stops):
                following, held_by_following = rollout.start(number + 1)
                try:
                    rollout.stop(clients, server, held, following, notices=number % 4 < 2)
                finally:
                    server.__exit__()
                    server, held = following, held_by_following
            seconds = time.monotonic() - start
    finally:
        server.__exit__()
    after = network.kernel_counters()
    figures.add("servers stopped", stops)
    figures.add("clients served", rollout.served, at_least=1)
    begun = rollout.served + sum(rollout.kinds.values()) + rollout.lost_late
    figures.add(f"clients that connected, of {rate}/s if the machine is fast enough", begun / seconds, "/s")
    figures.add("served that came during a delay", rollout.during_delay, at_least=1)
    figures.add("lost before the end of a delay", sum(rollout.kinds.values()), exactly=0)
    figures.check(f"they were lost by {dict(rollout.kinds)}", not rollout.kinds)
    figures.add("late for their first byte, or with packets that were lost", rollout.own_faults)
    figures.add("refused after it, by stops that no load balancer noticed", rollout.lost_late, at_least=1)
    figures.add("earliest refusal after the end of a delay", 1000 * min(rollout.ends), "ms", at_least=0)
    figures.add("median", 1000 * percentile(rollout.ends, 0.5), "ms")
    figures.add("queue overflows", after["TcpExtListenOverflows"] - before["TcpExtListenOverflows"], exactly=0)
