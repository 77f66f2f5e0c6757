# SPDX-License-Identifier: Apache-2.0
"""A cable that is pulled."""

import errno
import socket
import subprocess
import sys

from . import network
from .processes import Subject
from .report import scenario

CLIENTS = 100

# In a network namespace of its own: reads where to connect, then holds the connections.
PEER = """
import ctypes, socket, sys
assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0, "unshare"
print("ready", flush=True)
address, port = sys.stdin.readline().split()
clients = [socket.create_connection((address, int(port)), 10) for _ in range(int(sys.argv[1]))]
for client in clients:
    client.sendall(b"x")
    assert client.recv(1) == b"x"
print("connected", flush=True)
sys.stdin.readline()
"""


@scenario("cable-pulled")
def cable_pulled(figures):
    """Peers that vanish without a word: probes and the user timeout notice it (F26)."""
    peer = subprocess.Popen([sys.executable, "-c", PEER, str(CLIENTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
    try:
        figures.check("no peer", peer.stdout.readline() == "ready\n")
        inside = ["nsenter", "-t", peer.pid, "-n"]
        network.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "end", "netns", peer.pid)
        network.run("ip", "addr", "add", "10.98.0.1/24", "dev", "cable")
        network.run("ip", "link", "set", "cable", "up")
        network.run(*inside, "ip", "addr", "add", "10.98.0.2/24", "dev", "end")
        network.run(*inside, "ip", "link", "set", "end", "up")
        with Subject(figures, "echo", "--address", "10.98.0.1", "--keep-alive", "1", "--user-timeout", "2000") as subject:
            descriptors = subject.descriptors()
            peer.stdin.write(f"10.98.0.1 {subject.port}\n")
            peer.stdin.flush()
            figures.check("peers could not connect", peer.stdout.readline() == "connected\n")
            subject.accepted(CLIENTS)
            network.run(*inside, "ip", "link", "set", "end", "down")
            took = subject.wait_until("all given up", lambda: subject.statistics()["held"] == 0, 20)
            figures.add("all given up after", took, "s", at_least=1.5, at_most=10)
            error = subject.statistics()["connection_error"]
            figures.add("error", errno.errorcode.get(error, error), exactly="ETIMEDOUT")
            figures.add("descriptors left", subject.descriptors() - descriptors, exactly=0)
            subject.judge(figures, CLIENTS)
    finally:
        peer.kill()
        peer.wait()
        for stream in (peer.stdin, peer.stdout):
            stream.close()


@scenario("address-goes-and-comes")
def address_goes_and_comes(figures):
    """The address that a server listens on is taken from the machine, and given back: it needs no restart."""
    interface, address = "coming", "10.97.0.1"
    network.run("ip", "link", "add", interface, "type", "veth", "peer", "name", "going")
    network.run("ip", "link", "set", interface, "up")
    network.run("ip", "addr", "add", f"{address}/24", "dev", interface)
    try:
        with Subject(figures, "echo", "--address", address) as subject:
            for accepted in range(1, 4):
                with socket.create_connection((address, subject.port), 5) as client:
                    client.sendall(b"x")
                    figures.check("no echo", client.recv(1) == b"x")
                subject.accepted(accepted)
                network.run("ip", "addr", "del", f"{address}/24", "dev", interface)
                try:
                    socket.create_connection((address, subject.port), 0.2).close()
                    figures.check("a client came to an address that is gone", False)
                except OSError:
                    pass
                network.run("ip", "addr", "add", f"{address}/24", "dev", interface)
            with socket.create_connection((address, subject.port), 5) as client:
                client.sendall(b"x")
                figures.add("then an echo", client.recv(1).decode(), exactly="x")
            now = subject.judge(figures, 4)
            figures.add("errors told", now["told"], exactly=0)
    finally:
        network.run("ip", "link", "del", interface)
