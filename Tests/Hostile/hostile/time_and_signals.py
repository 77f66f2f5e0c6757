# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump, and signals without end."""

import errno
import glob
import signal
import tempfile
import threading
import time

from . import network
from .processes import EchoServer, Subject
from .queue_sharing import connect_and_close
from .report import Skipped, needs, percentile, scenario

DAY = 86_400


@scenario("signals")
def signals(figures):
    """10,000 signals a second, none restarting a call: nothing fails, waits end in time (G13, F8, F20)."""
    seconds = figures.many(4, 60)
    with Subject(figures, "close") as busy, Subject(figures, "hold") as waiting:
        busy.tell("alarm", 100)
        waiting.tell("alarm", 100)
        served = []
        done = threading.Event()

        def storm():
            while not done.is_set():
                served.append(connect_and_close(busy.port, 200))

        thread = threading.Thread(target=storm)
        thread.start()
        late, control = [], []
        sleeper = threading.Thread(target=sleep_again_and_again, args=(done, control))
        sleeper.start()
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            answer = waiting.tell("wait", 200)
            figures.check("a wait did not time out", answer["timed_out"] and not answer["available"])
            late.append(answer["microseconds"] / 1000 - 200)
        done.set()
        thread.join()
        sleeper.join()
        busy.tell("alarm", 0)
        waiting.tell("alarm", 0)
        figures.add("signals", waiting.statistics()["signals"] / seconds, "/s", at_least=1000)
        figures.add("waits of 200 ms", len(late))
        figures.add("earliest", min(late), "ms late", at_least=0)
        # The machine's own lateness beside it: a process that sleeps and gets no signals.
        figures.add("median of a sleeper without signals", percentile(control, 0.5), "ms late")
        figures.add("median", percentile(late, 0.5), "ms late", at_most=round(5 + 2 * percentile(control, 0.9)))
        figures.add("latest", max(late), "ms late", at_most=2000)
        figures.check("an error was told", busy.judge(figures, sum(served))["told"] == 0)
        figures.check("a wait had an error", waiting.judge(figures, 0)["told"] == 0)


def sleep_again_and_again(done, late):
    while not done.is_set():
        start = time.monotonic()
        time.sleep(0.2)
        late.append(1000 * (time.monotonic() - start) - 200)


def faketime():
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib*/faketime/libfaketime.so.1")
    if not found:
        raise Skipped("there is no libfaketime here (scripts/install-dependencies ci)")
    return found[0]


class JumpingClock:
    """The wall clock of processes that are started with its environment."""

    def __init__(self):
        self._file = tempfile.NamedTemporaryFile("w", prefix="faketime-")
        self.environment = {"LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": self._file.name,
                            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.jump(0)

    def jump(self, seconds):
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{seconds:+d}\n")
        self._file.flush()


@scenario("clock-jumps")
def clock_jumps(figures):
    """The wall clock jumps a day to and fro in waits, back-offs and a shutdown's grace (G14, F22)."""
    clock = JumpingClock()
    with Subject(figures, "hold", environment=clock.environment) as subject:
        for number, jump in enumerate((DAY, -DAY)):
            timer = threading.Timer(0.1, clock.jump, [jump])
            timer.start()
            answer = subject.tell("wait", 300)
            timer.join()
            shown = subject.statistics()["wall_clock"] - time.time() - jump
            figures.check(f"the clock did not jump by {jump} s, but {shown} s otherwise", abs(shown) < 60)
            figures.add(f"a wait of 300 ms, {jump:+d} s", answer["microseconds"] / 1000, "ms", at_least=300, at_most=1000)

            subject.tell("fail", -1, errno.ENOBUFS)
            client = network.connect(subject.port)
            subject.wait_until("a back-off", lambda: subject.statistics()["resource_errors"] >= 6 * (number + 1))
            clock.jump(-jump)
            subject.tell("heal")
            figures.add(f"a back-off, {-jump:+d} s", 1000 * subject.accepted(number + 1), "ms", at_most=1500)
            client.close()
        subject.judge(figures, 2)
    # The clock of Swift's deadlines jumps as well here, as it does not in life. `env` takes what libfaketime does to
    # the environment, behind which Swift looks for the arguments.
    with EchoServer(figures, "--http", "--first-byte", "1000000", "--idle", "1000000",
                    environment=clock.environment, before=["env"]) as server:
        clock.jump(0)
        with network.connect(server.port) as client:
            # In the middle of a request, so that it has until the deadline.
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /")
            client.recv(1)
            timer = threading.Timer(0.5, clock.jump, [DAY])
            timer.start()
            figures.add("a grace of 3 s", server.stop(), "s", at_least=2.95, at_most=4.5)


@scenario("monotonic-offset")
@needs("unshare")
def monotonic_offset(figures):
    """A monotonic clock a day ahead of its neighbours', in a time namespace (G14, F22)."""
    before = ["unshare", "-T", "--monotonic", str(DAY), "--fork"]
    try:
        network.run(*before, "true")
    except OSError as error:
        raise Skipped(f"no time namespace can be made here ({error})") from None
    with Subject(figures, "hold", before=before) as subject:
        figures.add("a wait of 200 ms", subject.tell("wait", 200)["microseconds"] / 1000, "ms", at_least=200,
                    at_most=1000)
        subject.tell("fail", 8, errno.ENOBUFS)
        with network.connect(subject.port):
            figures.add("eight back-offs", 1000 * subject.accepted(1), "ms", at_least=500, at_most=3500)
        subject.judge(figures, 1)


@scenario("stopped-and-continued")
def stopped_and_continued(figures):
    """SIGSTOP for a second in a storm, in a wait and in a back-off: it goes on where it was (G13)."""
    with Subject(figures, "close") as busy, Subject(figures, "hold") as waiting, EchoServer(figures) as swift:
        servers = (busy, waiting, swift)
        waiting.tell("fail", -1, errno.ENOMEM)
        held = [network.connect(port) for port in (waiting.port, swift.port)]
        waiting.wait_until("a back-off", lambda: waiting.statistics()["resource_errors"] >= 5)
        served = []
        storm = threading.Thread(target=lambda: served.append(connect_and_close(busy.port, 5000)))
        storm.start()
        for server in servers:
            server.child.send_signal(signal.SIGSTOP)
        held[1].sendall(b"x")
        time.sleep(1)
        for server in servers:
            server.child.send_signal(signal.SIGCONT)
        storm.join()
        busy.judge(figures, sum(served))
        figures.add("an echo that had to wait", held[1].recv(1).decode(), exactly="x")
        waiting.tell("heal")
        figures.add("a back-off over after", 1000 * waiting.accepted(1), "ms", at_most=1500)

        # The time goes on while the process does not.
        timer = threading.Timer(0.1, stop_for, [waiting.child, 0.3])
        timer.start()
        answer = waiting.tell("wait", 600)
        timer.join()
        figures.check("a wait did not time out", answer["timed_out"])
        figures.add("a wait of 600 ms", answer["microseconds"] / 1000, "ms", at_least=600, at_most=1500)
        waiting.judge(figures, 1)
        for client in held:
            client.close()
        swift.stop()
        swift.judge_silence(figures)


def stop_for(child, seconds):
    child.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    child.send_signal(signal.SIGCONT)


@scenario("interrupted-again")
def interrupted_again(figures):
    """A second SIGINT in a shutdown's grace of an hour: it ends at once, and well."""
    for loops in (1, 3):
        with EchoServer(figures, "--http", "--loops", str(loops), "--grace", "3600") as server:
            with network.connect(server.port) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /")
                client.recv(1)
                server.child.send_signal(signal.SIGINT)
                await_refusal(server.port)
                start = time.monotonic()
                server.child.send_signal(signal.SIGINT)
                figures.add(f"{loops} loops: status", server.child.wait(10), exactly=0)
                figures.add(f"{loops} loops: ended after", time.monotonic() - start, "s", at_most=1.5)


def await_refusal(port):
    """Clients find no listener any more, within 10 s."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            network.connect(port).close()
        except OSError:
            return
    raise TimeoutError("the server still accepts")
