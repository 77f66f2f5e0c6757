# SPDX-License-Identifier: Apache-2.0
"""The server that is judged (Tests/TLS/Server), and an ordinary client of it."""

import os
import select
import socket
import ssl
import subprocess
import time

from hostile.report import Failed

SECONDS = 20
# Milliseconds for a handshake where the time is not what is judged: clients of a busy machine are slow.
PATIENT = 60_000


class Server:
    """One process. Its clients may use it from several threads, its reports from one."""

    def __init__(self, programs, key="ecdsa", verify="none", **numbers):
        words = [str(word) for option in numbers.items() for word in option]
        # One arena, so that the server's count of its memory has that of all its threads.
        self.process = subprocess.Popen(
            [str(programs.server), str(programs.certificates), key, verify, *words],
            env=os.environ | {"MALLOC_ARENA_MAX": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.authority = programs.certificates / "authority.pem"
        try:
            self.port = int(self._line("port").split()[1])
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _line(self, what):
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            raise Failed(f"the server does not say its {what}")
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the server has ended with {self.process.wait(SECONDS)}")
        return line

    def report(self):
        """Its counts, by name."""
        self.process.stdin.write("report\n")
        return {name: int(number) for name, number in (part.split("=") for part in self._line("report").split())}

    def report_when(self, is_there, what):
        """The first report of which this is true."""
        deadline = time.monotonic() + SECONDS
        while not is_there(report := self.report()):
            if time.monotonic() > deadline:
                raise Failed(f"{what}; it reports {report}")
            time.sleep(0.02)
        return report

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self):
        """In order; a crash fails the run."""
        self.process.stdin.close()
        try:
            status = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed("the server does not end") from None
        finally:
            self.process.stdout.close()
        if status != 0:
            raise Failed(f"the server ended with {status}")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind:
            self.process.kill()
            self.process.wait()
        else:
            self.end()

    def connect(self):
        """A TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    def client(self, name="www.example.com"):
        return client_of(self, name)


def client_of(server, name="www.example.com"):
    """An encrypted connection of Python's ssl."""
    context = ssl.create_default_context(cafile=str(server.authority))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), SECONDS), server_hostname=name)


def echoes(client, text=b"still there"):
    """Whether the server sends back what it is sent."""
    client.sendall(text)
    answer = b""
    while len(answer) < len(text):
        more = client.recv(65536)
        if not more:
            return False
        answer += more
    return answer == text
