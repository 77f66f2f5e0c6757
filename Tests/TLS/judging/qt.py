# SPDX-License-Identifier: Apache-2.0
"""Qt 6: its QSslSocket as a client, and its QSslServer under the same silent clients, for comparison."""

import select
import subprocess
import tempfile
from pathlib import Path

from hostile import network
from hostile.report import Failed, Skipped, long_only, percentile, scenario

from .clients import BYTES, NAME
from .server import PATIENT, SECONDS, Server, client_of
from .silent import TIMEOUT, GoodClients, connect_all, times_until_cut

SOURCES = Path(__file__).resolve().parent.parent


def build(name, folder):
    """The program NAME of Tests/TLS."""
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "Qt6Network"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    if found.returncode != 0:
        raise Skipped("there are no development files of Qt 6 here (scripts/install-dependencies ci)")
    program = Path(folder, name)
    network.run("c++", "-std=c++17", "-fPIC", "-O0", SOURCES / f"{name}.cpp", "-o", program, *found.stdout.split(),
                timeout=300)
    return program


@scenario("Qt")
def qt(figures):
    """Qt 6's QSslSocket as a client"""
    with tempfile.TemporaryDirectory() as folder:
        program = build("qt_client", folder)
        for key in ("ecdsa", "rsa"):
            with Server(figures.programs, key, timeout=PATIENT) as server:
                answer = network.run(program, server.port, server.authority, NAME, len(BYTES), timeout=120)
                figures.add(key, answer.strip())
                figures.check(f"{key}: {answer}", answer.strip().endswith("http/1.1"))


class QtServer:
    """What the clients of silent.py need of a Server."""

    def __init__(self, program, certificates):
        self.authority = certificates / "authority.pem"
        self.process = subprocess.Popen(
            [str(program), str(certificates / "exact-ecdsa.pem"), str(int(TIMEOUT * 1000))], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.__exit__()
            raise Failed("Qt's server does not say its port")
        self.port = int(self.process.stdout.readline().split()[1])

    def client(self):
        return client_of(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()


@scenario("silent, to Qt")
@long_only
def silent_to_qt(figures):
    """Qt 6's QSslServer and silent clients, for comparison"""
    count = 200
    with tempfile.TemporaryDirectory() as folder, \
            QtServer(build("qt_server", folder), figures.programs.certificates) as server:
        with GoodClients(server) as good:
            clients = connect_all(server, count, 60, b"")
            times = times_until_cut(clients, 3 * TIMEOUT)
        figures.add(f"of {count} silent clients cut", len(times))
        figures.add("last one of them cut after", max(times, default=0.0), "s")
        figures.add("good clients served", len(good.times))
        figures.add("good clients lost", good.lost)
        figures.add("a good client's handshake, p99", percentile(good.times or [0.0], 0.99) * 1000, "ms")
        for client in clients:
            client.close()
