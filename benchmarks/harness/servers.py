# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared, a row each. README.md says how to add one."""

import glob
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .building import CARGO, CMAKE, GO, NODE, SWIFT, SWIFT_PEERS, cmake_project
from .places import BENCHMARKS, PROGRAMS

FLOOR = "raw-epoll"
FLOOR_AGAIN = "raw-epoll-again"


@dataclass(frozen=True)
class Server:
    """One server: its name in all tables, how it is built and started, and what it represents."""

    name: str
    about: str  # what takes the connections, in a few words
    builder: object  # of building.py
    version: object  # what is compared: a text, or a function that finds it
    command: tuple = ()  # if it is not a program of the builder's
    product: str = ""  # the builder's name of the program, if it is not the server's own
    arguments: tuple = ()  # after the mode
    environment: dict = field(default_factory=dict)
    packages: str = ""  # Debian's, to build it
    registers: bool = True  # whether drain makes each connection ready to read
    ours: bool = False
    loops: bool = False  # understands --loops N
    loads: tuple = ()  # kinds or names of loads, if not all: in the others it does what another row does
    natural_form_of: str = ""  # the row with the fastest form of the same program
    quick: bool = False  # part of the quick run
    may_be_refused: bool = False  # needs something of the kernel that is often forbidden

    def start_command(self):
        """The program with its first arguments."""
        if self.command:
            return [str(part) for part in self.command]
        return [str(self.builder.program(self.built_name))]

    @property
    def built_name(self):
        return self.product or self.name

    def is_built(self):
        """Whether its file is there."""
        files = [part for part in self.command if isinstance(part, Path)] or [self.builder.program(self.built_name)]
        return files[0].exists()

    def refusal(self):
        """Why this machine does not let the program run; None if it does, or if that is the program's own fault."""
        if not self.may_be_refused:
            return None
        try:
            # An empty pipe: its end ends a server, and epoll takes no /dev/null.
            done = subprocess.run([*self.start_command(), "echo"], input="", capture_output=True, text=True, timeout=20,
                                  check=False)
        except subprocess.TimeoutExpired:
            return None
        return None if done.returncode == 0 else done.stderr.strip()

    def find_version(self):
        """The version as text, or why there is none."""
        return self.version() if callable(self.version) else self.version


# MARK: Versions


def pkg_config(module, name):
    def find():
        return f"{name} {output('pkg-config', '--modversion', module)}"

    return find


def debian_package(package, name):
    def find():
        version = output("dpkg-query", "--show", "--showformat=${Version}", package)
        return f"{name} {version}"

    return find


def program_version(name, *command):
    """The first thing that looks like a version in what the command prints."""

    def find():
        match = re.search(r"\d+(\.\d+)+", output(*command))
        return f"{name} {match[0] if match else 'of unknown version'}"

    return find


def boost_version():
    for header in ("/usr/include/boost/version.hpp", "/usr/local/include/boost/version.hpp"):
        if Path(header).exists():
            match = re.search(r'BOOST_LIB_VERSION "([\d_]+)"', Path(header).read_text(encoding="utf-8"))
            if match:
                return "Boost " + match[1].replace("_", ".")
    return "Boost of unknown version"


def tokio_version():
    for lock in glob.glob(str(BENCHMARKS / "Servers/Tokio/Cargo.lock")):
        match = re.search(r'name = "tokio"\nversion = "([^"]+)"', Path(lock).read_text(encoding="utf-8"))
        if match:
            return f"tokio {match[1]}"
    return "tokio of unknown version"


def swift_dependency(identity, name):
    def find():
        resolved = SWIFT_PEERS.folder / "Package.resolved"
        if resolved.exists():
            text = resolved.read_text(encoding="utf-8")
            match = re.search(rf'"identity" : "{identity}".*?"version" : "([^"]+)"', text, re.DOTALL)
            if match:
                return f"{name} {match[1]}"
        return f"{name} of unknown version"

    return find


def output(*command):
    """What a command prints, in one line; its failure as text."""
    if not shutil.which(command[0]):
        return "of unknown version"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "of unknown version"
    return " ".join(done.stdout.split()) or "of unknown version"


LIBEVENT = pkg_config("libevent_core", "libevent")
QT = pkg_config("Qt6Network", "Qt")
KERNEL = "the kernel"
OURS = "this commit"

# What the form in which a program is written changes.
NATURAL = ("echo-64x1", "echo-64x64", "echo-64x1000", "hold")

# MARK: The table

SERVERS = (
    Server(FLOOR, "epoll, accept4 until EAGAIN", CMAKE, KERNEL, packages="gcc pkg-config libevent-dev",
           registers=False, quick=True),
    Server("raw-epoll-reg", "the same and EPOLL_CTL_ADD each", CMAKE, KERNEL, loads=("drain",), quick=True),
    Server("raw-epoll-in-order", "the same, closed once the client has ended", CMAKE, KERNEL, registers=False,
           loads=("storm",), quick=True),
    Server("raw-epoll-turns", "a thread accepts, all get connections in turn", CMAKE, KERNEL, loops=True,
           loads=("storm", "echo-64x64", "storm-2-loops", "echo-64x64-2-loops")),
    Server("ours-c", "csc_server", CMAKE, OURS, packages="libevent-dev", registers=False, ours=True, quick=True),
    Server("ours-callback", "TCPServer, newConnection", SWIFT, OURS, registers=False, ours=True, loops=True,
           quick=True),
    Server("ours-callback-reg", "the same, waiting for data", SWIFT, OURS, ours=True, loads=("drain",), quick=True),
    Server("ours-callback-written", "readyRead, disconnected, write(readAll())", SWIFT, OURS, product="ours-callback",
           arguments=("--as-written",), ours=True, loads=NATURAL, natural_form_of="ours-callback", quick=True),
    Server("ours-async", "TCPServer.serve", SWIFT, OURS, registers=False, ours=True, loops=True, quick=True),
    Server("ours-async-reg", "the same, a read that waits in each", SWIFT, OURS, ours=True, loads=("drain",),
           quick=True),
    Server("ours-async-written", "while let line = readLine(), write(line)", SWIFT, OURS, product="ours-async",
           arguments=("--as-written",), ours=True, loads=NATURAL, natural_form_of="ours-async", quick=True),
    Server("ours-sequence", "TCPServer.incomingConnections", SWIFT, OURS, registers=False, ours=True, quick=True),
    Server("ours-sequence-written", "for line in lines, write(line)", SWIFT, OURS, product="ours-sequence",
           arguments=("--as-written",), ours=True, loads=NATURAL, natural_form_of="ours-sequence"),
    Server("uring", "io_uring, multishot accept", CMAKE, pkg_config("liburing", "liburing"),
           packages="liburing-dev", registers=False, may_be_refused=True),
    Server("libevent-bev", "evconnlistener, bufferevent", CMAKE, LIBEVENT, packages="libevent-dev"),
    Server("libuv", "uv_listen, uv_tcp_t", CMAKE, pkg_config("libuv", "libuv"),
           packages="libuv1-dev", registers=False, quick=True),
    Server("asio", "async_accept, tcp::socket", cmake_project("Asio"), boost_version,
           packages="libboost-dev libboost-system-dev"),
    Server("tokio", "TcpListener, a task each", CARGO, tokio_version, packages="cargo librust-tokio-dev"),
    Server("qt", "QTcpServer, QTcpSocket", cmake_project("Qt"), QT, packages="qt6-base-dev"),
    Server("qt-noglib", "the same, without glib", cmake_project("Qt"), QT,
           command=(PROGRAMS / "qt",), environment={"QT_NO_GLIB": "1"}, packages="qt6-base-dev", quick=True),
    Server("flyingsocks", "AsyncSocket.sockets", SWIFT_PEERS, swift_dependency("flyingfox", "FlyingFox"),
           registers=False),
    Server("go", "net.Listener, a goroutine each", GO, program_version("Go", "go", "version"), packages="golang-go"),
    Server("nio", "ServerBootstrap, a handler each", SWIFT_PEERS, swift_dependency("swift-nio", "SwiftNIO")),
    Server("nio-async", "NIOAsyncChannel, a task each", SWIFT_PEERS, swift_dependency("swift-nio", "SwiftNIO")),
    Server("node", "net.createServer", NODE, program_version("Node.js", "node", "--version"),
           command=("node", BENCHMARKS / "Servers/Node/server.js"), packages="nodejs"),
    # The floor again, as far from itself in each round as can be: how much two runs of the same thing differ.
    Server(FLOOR_AGAIN, "the floor once more: the noise", CMAKE, KERNEL,
           command=(PROGRAMS / FLOOR,), registers=False, quick=True),
)


def by_name():
    return {server.name: server for server in SERVERS}
