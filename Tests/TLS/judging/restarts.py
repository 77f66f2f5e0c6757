# SPDX-License-Identifier: Apache-2.0
"""Hot restarts: the sessions of an old process are resumed by the new one, which it hands its ticket keys to."""

import contextlib
import socket
import ssl
import tempfile
import threading
from pathlib import Path

from hostile.report import scenario

from .server import PATIENT, SECONDS, Server, echoes

RESTARTS = 3
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
NAME = "www.example.com"


class Sessions:
    """Clients of one version, each with the session of its last connection."""

    def __init__(self, server, version, count):
        self.context = ssl.create_default_context(cafile=str(server.authority))
        self.context.minimum_version = self.context.maximum_version = VERSIONS[version]
        self.tried, self.resumed = 0, 0
        self.kept = [self._connect(server, None) for _ in range(count)]

    def _connect(self, server, session):
        with server.connect() as plain, \
                self.context.wrap_socket(plain, server_hostname=NAME, session=session) as client:
            # Its first bytes would wait for the acknowledgement of its handshake.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A ticket of TLS 1.3 comes with the first bytes.
            if not echoes(client):
                raise OSError("nothing came back")
            if session:
                self.tried += 1
                self.resumed += client.session_reused
            return client.session

    def come_again(self, server):
        self.kept = [self._connect(server, session) for session in self.kept]


def judge(figures, version, path, count):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(figures.programs, timeout=PATIENT, control=path))
        port = server.port
        sessions, old = (Sessions(server, version, count) for _ in range(2))
        for _ in range(RESTARTS):
            # The port is the same, and at any time one of the two accepts.
            thread = threading.Thread(target=sessions.come_again, args=(server,))
            thread.start()
            successor = Server(figures.programs, timeout=PATIENT, control=path)
            stack.enter_context(successor)
            thread.join()  # the old one ends without a command
            server.process.wait(SECONDS)
            server = successor
            sessions.come_again(server)
        # The keys have come through all processes.
        old.come_again(server)
        figures.check(f"{version}: another port", server.port == port)
    for name, which in (("after each of them", sessions), ("of the first process, after all of them", old)):
        figures.add(f"{version}: sessions offered, {name}", which.tried, at_least=count)
        figures.add(f"{version}: resumed", 100 * which.resumed / max(which.tried, 1), "%", at_least=95)


@scenario("restarts")
def restarts(figures):
    """sessions across hot restarts"""
    for version in VERSIONS:
        with tempfile.TemporaryDirectory() as folder:
            judge(figures, version, Path(folder, "control"), figures.many(100, 1000))
