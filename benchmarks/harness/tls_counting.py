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

FLIGHTS = 2  # that a client sends in TLS 1.3
# Those with options of their own are left out.
SERVERS = tuple(row.server for row in ROWS if row.ours and not row.arguments)


def _echo(running, messages):
    """counting.echo() of encrypted connections."""
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(_connect(running)) for _ in range(CONNECTIONS)]
        for number in range(messages):
            wait_until_idle(running)
            counting.exchange(running, connections[number % CONNECTIONS], number)
        wait_until_idle(running)
        running.end(LIMIT)


def _idle(running, connections):
    """Connections that stay, each after one message."""
    with contextlib.ExitStack() as opened:
        for number in range(connections):
            counting.exchange(running, opened.enter_context(_connect(running)), number)
        wait_until_idle(running)
        running.end(LIMIT)


def _connect(running):
    """Each flight of the handshake is sent when the server waits for it: a turn more or less is another read, and other
    buffers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    wait_until_idle(running)
    plain = socket.create_connection(("127.0.0.1", running.port), LIMIT)
    # A message would wait for the acknowledgement of the handshake.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, do_handshake_on_connect=False)
    connection.setblocking(False)
    for _ in range(FLIGHTS):
        wait_until_idle(running)
        with contextlib.suppress(ssl.SSLWantReadError):
            connection.do_handshake()
    wait_until_idle(running)
    if not connection.version():
        raise running.failed("does not end its handshake")
    connection.settimeout(LIMIT)
    return connection


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
