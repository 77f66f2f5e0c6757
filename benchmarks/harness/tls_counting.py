# SPDX-License-Identifier: Apache-2.0
"""What check-counts counts of encrypted connections."""

import contextlib
import socket
import ssl
import tempfile
from pathlib import Path

from . import counting
from .counting import CONNECTIONS, LIMIT, CountedLoad, wait_until_idle
from .processes import Failed
from .tls_measuring import make_certificates
from .tls_rows import BARE, ROWS

RECORD = 1 << 15  # holds any
# Those with options of their own are left out.
SERVERS = tuple(row.server for row in ROWS if row.ours and not row.arguments)


def _echo(running, messages):
    """counting.echo() of encrypted connections."""
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(_Encrypted(running)) for _ in range(CONNECTIONS)]
        for number in range(messages):
            wait_until_idle(running)
            counting.exchange(running, connections[number % CONNECTIONS], number)
        wait_until_idle(running)
        running.end(LIMIT)


def _idle(running, connections):
    """Connections that stay, each after one message."""
    with contextlib.ExitStack() as opened:
        for number in range(connections):
            counting.exchange(running, opened.enter_context(_Encrypted(running)), number)
        wait_until_idle(running)
        running.end(LIMIT)


class _Encrypted:
    """A client's connection that sends each flight of its handshake when the server waits for it: a turn more or less
    is another read, and other buffers. OpenSSL alone reads whatever has come while it sends."""

    def __init__(self, running):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._arrived, self._leaving)
        self._plain = counting.connect(running)
        try:
            # A message would wait for the acknowledgement of the handshake.
            self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._make_handshake(running)
        except BaseException:
            self._plain.close()
            raise

    def _make_handshake(self, running):
        while True:
            wait_until_idle(running)
            try:
                self._session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send()
            wait_until_idle(running)
            self._receive()
        self._send()
        wait_until_idle(running)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._plain.close()

    def sendall(self, data):
        self._session.write(data)
        self._send()

    def recv(self, size):
        while True:
            try:
                return self._session.read(size)
            except ssl.SSLWantReadError:
                self._receive()

    def _send(self):
        self._plain.sendall(self._leaving.read())

    def _receive(self):
        data = self._plain.recv(RECORD)
        if data:
            self._arrived.write(data)
        else:
            self._arrived.write_eof()


@contextlib.contextmanager
def loads(missing):
    """The loads, whose certificate is there as long; none where it cannot be made, as `missing` says then."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            make_certificates(Path(folder))
        except Failed as error:
            missing.append(f"encrypted connections are not counted: {error}")
            yield ()
            return
        files = (f"{folder}/ecdsa.pem", f"{folder}/ecdsa.key")
        yield (CountedLoad("echo-tls", _echo, mode="echo", options=files),
               CountedLoad("idle-tls", _idle, mode="echo", options=files, floor=BARE,
                           floor_options=("--release-buffers",)))
