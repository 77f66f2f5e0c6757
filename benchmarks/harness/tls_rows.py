# SPDX-License-Identifier: Apache-2.0
"""The servers and loads that benchmarks/tls compares, a row each."""

from dataclasses import dataclass

from . import nginx
from .building import CMAKE, NODE, SWIFT, Go, SwiftPackage, cmake_project
from .loads import BUSY, Metric
from .places import BENCHMARKS
from .servers import OURS, QT, Server, pkg_config, program_version

FLOOR = "raw-epoll-tls"
# The least that an idle connection of OpenSSL's can hold.
IDLE_FLOOR = "raw-epoll-tls-release"

RATE = Metric("rate", "a second")
SERVER_CPU = Metric("server_cpu_ns", "server CPU, µs each", unit=1000)
P50 = Metric("p50_ns", "p50, ms", unit=1e6)
P99 = Metric("p99_ns", "p99, ms", unit=1e6)
MOST = Metric("max_ns", "max, ms", unit=1e6)
RESUMED = Metric("resumed", "resumed, %", unit=0.01)
MEMORY = Metric("bytes", "bytes a connection")
SHAKEN = Metric("handshakes", "handshakes a second")
LATE = Metric("late_ns", "late, ms", unit=1e6)


NIO_TLS = SwiftPackage(BENCHMARKS / "Servers/NIOTLS")
OPENSSL = pkg_config("libssl", "OpenSSL")


@dataclass(frozen=True)
class Row:
    """One server with one set of options."""

    name: str  # in all tables
    server: Server
    arguments: tuple = ()  # behind the certificate and its key
    loads: tuple = ()  # if not all
    is_nginx: bool = False  # greets, and takes no message

    @property
    def ours(self):
        return self.server.ours


@dataclass(frozen=True)
class TLSLoad:
    """One load. Ratios to the floor are of the metrics in `ratios`."""

    name: str
    title: str
    kind: str  # handshakes, echo, idle, silent, flood
    metrics: tuple
    ratios: tuple
    connections: int
    size: int = 64
    key: str = "ecdsa"
    resumes: bool = False
    floor: str = FLOOR
    note: str = ""


def floor(name, about):
    return Server(name, about, CMAKE, OPENSSL, packages="gcc pkg-config libevent-dev libssl-dev")


BARE = floor(FLOOR, "epoll, SSL_read, SSL_write")
CALLBACK = Server("ours-callback-tls", "SSLServer, newConnection", SWIFT, OURS, ours=True)
ASYNC = Server("ours-async-tls", "SSLServer.serve", SWIFT, OURS, ours=True)
NGINX = Server("nginx-tls", "stream, return", nginx.BUILDER, nginx.version,
               packages="nginx-light libnginx-mod-stream")

ROWS = (
    Row(FLOOR, BARE),
    Row(IDLE_FLOOR, BARE, ("--release-buffers",), loads=("idle",)),
    Row("ours-c-tls", Server("ours-c-tls", "csc_server, csc_tls", CMAKE, OURS, ours=True)),
    Row("ours-callback-tls", CALLBACK),
    Row("ours-async-tls", ASYNC),
    Row("ours-async-tls-thread", ASYNC, ("--threads", "1"), loads=("full", "full-rsa", "flood", "flood-rsa")),
    Row("qt-tls", Server("qt-tls", "QSslServer, QSslSocket", cmake_project("QtTLS"), QT, packages="qt6-base-dev")),
    Row("nio-tls", Server("nio-tls", "NIOSSLServerHandler", NIO_TLS, "SwiftNIO 2.101.2, swift-nio-ssl 2.37.6")),
    Row("go-tls", Server("go-tls", "crypto/tls, a goroutine each", Go("GoTLS", "go-tls"), program_version("Go", "go", "version"),
                         packages="golang-go")),
    Row("node-tls", Server("node-tls", "tls.createServer", NODE, program_version("Node.js", "node", "--version"),
                           command=("node", BENCHMARKS / "Servers/NodeTLS/server.js"), packages="nodejs")),
    Row("nginx-tls", NGINX, loads=("full", "full-rsa", "resumed"), is_nginx=True),
    # The floor again, as far from itself in each round as can be: the noise.
    Row(FLOOR + "-again", BARE, loads=("full", "resumed", "echo-64", "echo-16384")),
)

HANDSHAKE = (SERVER_CPU, RATE, BUSY, P50, P99)
HANDSHAKE_NOTE = ("16 clients at once connect, shake hands by TLS 1.3 and X25519, exchange a message of 64 bytes and "
                  "end; nginx sends 16 bytes unasked. A client needs longer for a handshake than a good server does, so "
                  "the rate is the load generator's, and the server's CPU time is the server's.")
FLOOD_NOTE = ("1,000 connections exchange 2,000 messages a second, each due at its own time, while other clients shake "
              "hands as fast as a core can. The latency is that of the messages, counted from when each was due; *late* "
              "is how late the load generator itself was. Server, with its threads, and clients have one core each.")

LOADS = (
    TLSLoad("full", "full handshakes, ECDSA P-256", "handshakes", HANDSHAKE, (SERVER_CPU,), 16, note=HANDSHAKE_NOTE),
    TLSLoad("full-rsa", "full handshakes, RSA 2048", "handshakes", HANDSHAKE, (SERVER_CPU,), 16, key="rsa"),
    TLSLoad("resumed", "resumed handshakes", "handshakes", (*HANDSHAKE, RESUMED), (SERVER_CPU,), 16, resumes=True,
            note="As above, and each offers the session of the one before."),
    TLSLoad("echo-64", "echo 64 B, 64 connections", "echo", (RATE, SERVER_CPU, BUSY, P50, P99), (RATE, SERVER_CPU), 64),
    TLSLoad("echo-16384", "echo 16 KiB, 64 connections", "echo", (RATE, SERVER_CPU, BUSY, P50, P99),
            (RATE, SERVER_CPU), 64, size=16384),
    TLSLoad("idle", "idle connections", "idle", (MEMORY,), (MEMORY,), 1000, floor=IDLE_FLOOR,
            note="Resident memory that 1,000 connections add, some seconds after their only message. What a server has "
                 "freed and its allocator keeps is in it."),
    TLSLoad("silent", "handshakes beside 2,000 silent clients", "silent", (P99, P50, MOST, RATE), (), 4,
            note="2,000 clients connect and say nothing; four at a time shake hands beside them."),
    TLSLoad("flood", "messages in a flood of handshakes, ECDSA P-256", "flood", (P99, P50, MOST, SHAKEN, LATE), (), 1000,
            note=FLOOD_NOTE),
    TLSLoad("flood-rsa", "messages in a flood of handshakes, RSA 2048", "flood", (P99, P50, MOST, SHAKEN, LATE), (), 1000,
            key="rsa"),
)


def takes(row, load):
    """Whether a load is for a server."""
    return load.name in row.loads if row.loads else True


def loads_by_name():
    return {load.name: load for load in LOADS}
