# SPDX-License-Identifier: Apache-2.0
"""Everything that peers do, at once; and the end of a server in the middle of it."""

import random
import socket
import threading
import time
from pathlib import Path

from . import network
from .processes import EchoServer, Server
from .report import Failed, scenario

FORMS = {
    "async": [],
    "callback": ["--style", "callback"],
    "three loops": ["--loops", "3"],
    "callback, three loops": ["--style", "callback", "--loops", "3"],
}


def talk(client, chooser):
    """Sends something and must get all of it back."""
    data = chooser.randbytes(chooser.choice([1, 100, 5000]))
    client.sendall(data)
    back = b""
    while len(back) < len(data):
        piece = client.recv(65536)
        if not piece:
            raise Failed(f"an echo ended after {len(back)} of {len(data)} bytes")
        back += piece
    if back != data:
        raise Failed("an echo was not what was sent")


def end_well(client, chooser):
    talk(client, chooser)
    client.close()


def half_close(client, chooser):
    """What was sent before the end comes back, then the end."""
    data = chooser.randbytes(3000)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    back = b""
    while piece := client.recv(65536):
        back += piece
    if back != data:
        raise Failed(f"{len(back)} of {len(data)} bytes came back after a half close")
    client.close()


def reset_at_once(client, _):
    network.reset(client)


def reset_after_data(client, chooser):
    client.sendall(chooser.randbytes(2000))
    network.reset(client)


def say_nothing(client, _):
    client.close()


def send_bytes(client, chooser):
    """One at a time, the last of them urgent, which comes back in line."""
    data = chooser.randbytes(5)
    for byte in data[:-1]:
        client.send(bytes([byte]))
    client.send(data[-1:], socket.MSG_OOB)
    back = b""
    while len(back) < len(data) and (piece := client.recv(10)):
        back += piece
    if back != data:
        raise Failed("bytes one at a time came back otherwise")
    client.close()


def leave_unread(client, chooser):
    """Sends as much as there is room for, never reads, and goes."""
    client.setblocking(False)
    try:
        for _ in range(100):
            client.send(chooser.randbytes(65536))
    except BlockingIOError:
        pass
    chooser.choice([network.reset, socket.socket.close])(client)


KINDS = [(end_well, 60), (reset_at_once, 10), (reset_after_data, 10), (half_close, 5), (say_nothing, 5), (send_bytes, 5),
         (leave_unread, 5)]


def do_all(port, count, chooser):
    """So many clients, a few of them at a time; returns the names of what they did."""
    kinds, weights = zip(*KINDS)
    held = []
    for index in range(count):
        client = network.connect(port, network.source(index))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held.append(client)
        if len(held) >= 20:
            chooser.choices(kinds, weights)[0](held.pop(chooser.randrange(len(held))), chooser)
    for client in held:
        client.close()


@scenario("chaos")
def chaos(figures):
    """Clients of every kind, for the Swift server in its forms and the C example: descriptors return, good ones echo."""
    count = figures.many(500, 20_000)
    for name, arguments in {**FORMS, "C": None}.items():
        start = time.monotonic()
        server = (EchoServer(figures, *arguments) if arguments is not None
                  else Server([figures.programs.c_echo, "127.0.0.1", "0"]))
        with server:
            chooser = random.Random(20)
            with network.connect(server.port) as client:
                talk(client, chooser)
            server.wait_until("the first has ended", lambda: server.connections() == 0)
            descriptors = server.descriptors()
            do_all(server.port, count, chooser)
            with network.connect(server.port) as client:
                talk(client, chooser)
            server.wait_until("descriptors return", lambda: server.descriptors() <= descriptors)
            figures.check(f"{name}: {server.descriptors()} descriptors, {descriptors} before",
                          server.descriptors() == descriptors)
            server.stop()
            if arguments is not None:
                figures.add(f"{name}: served", server.served(), exactly=count + 2)
            server.judge_silence(figures)
        figures.add(f"{name}: took", time.monotonic() - start, "s")


@scenario("stop-in-a-storm")
def stop_in_a_storm(figures):
    """SIGINT while clients come: the server ends well and in time, whatever they do (G11)."""
    chooser = random.Random(7)
    for name, arguments in FORMS.items():
        longest = 0
        rounds = figures.many(3, 30)
        for _ in range(rounds):
            with EchoServer(figures, *arguments) as server:
                over = threading.Event()
                storms = [threading.Thread(target=connect_until, args=(server.port, over)) for _ in range(2)]
                for storm in storms:
                    storm.start()
                time.sleep(chooser.uniform(0.01, 0.1))
                try:
                    longest = max(longest, server.stop())
                finally:
                    over.set()
                    for storm in storms:
                        storm.join()
                figures.check(f"{name}: it served nobody", server.served() > 0)
                server.judge_silence(figures)
        figures.add(f"{name}: longest of {rounds} ends", longest, "s", at_most=4.0)


def connect_until(port, over):
    """Clients who talk, and close when the server does or when they have an answer."""
    while not over.is_set():
        try:
            with network.connect(port, "127.0.0.50", timeout=5) as client:
                client.sendall(b"x")
                client.recv(1)
        except OSError:
            pass  # the server ends


def inherited(server):
    """Descriptors that a program started by the server right now would get, but for the standard streams."""
    found = []
    for path in Path(f"/proc/{server.pid}/fdinfo").iterdir():
        try:
            flags = next(line for line in path.read_text(encoding="ascii").splitlines() if line.startswith("flags:"))
        except (OSError, StopIteration):
            continue  # closed meanwhile
        if int(path.name) > 2 and not int(flags.split()[1], 8) & 0o2000000:
            found.append(int(path.name))
    return found


@scenario("close-on-exec")
def close_on_exec(figures):
    """Looked at again and again in a storm, no descriptor of the Swift server would be inherited (F17)."""
    with EchoServer(figures, "--loops", "2") as server:
        over = threading.Event()
        storms = [threading.Thread(target=connect_until, args=(server.port, over)) for _ in range(2)]
        for storm in storms:
            storm.start()
        held = [network.connect(server.port) for _ in range(200)]
        looks = figures.many(100, 2000)
        seen = set()
        for _ in range(looks):
            seen.update(inherited(server))
        over.set()
        for storm in storms:
            storm.join()
        figures.add("looks", looks)
        figures.add("descriptors that would be inherited", len(seen), exactly=0)
        for client in held:
            client.close()
