# SPDX-License-Identifier: Apache-2.0
"""The programs that benchmarks/services compares, a row each, and the loads."""

import os
import shutil
from dataclasses import dataclass, field

from . import nginx
from .building import SWIFT, Builder, Go, NotBuilt, SwiftPackage
from .loads import Metric
from .places import PROGRAMS, REPOSITORY
from .servers import OURS, debian_package, program_version


@dataclass(frozen=True)
class Load:
    """One load, and the row to which the others are compared."""

    name: str
    title: str
    base: str
    cpu: Metric
    rate: Metric
    about: str
    arguments: tuple = ()  # of the load generator, or of redis-benchmark

    @property
    def kind(self):
        return self.name.partition("-")[0]


CPU_GIB = Metric("cpu_ns", "CPU, ms a GiB", unit=1e6)
GIB = Metric("rate", "GiB a second", unit=2**30)
CPU_COMMAND = Metric("cpu_ns", "CPU, ns a command")
CPU_REQUEST = Metric("cpu_ns", "CPU, ns a request")
A_SECOND = Metric("rate", "a second")

RELAY_TEXT = ("Bytes go through the relay as fast as it takes them; each is compared. Of one more connection the far end "
              "does not read, and the relay must leave what comes for it to the kernel. The load generator is both ends, "
              "on a core of its own, and does as much work as the relay: look at the CPU time.")
LOADS = (
    Load("relay", "Relay, 7 connections, both ways", "haproxy", CPU_GIB, GIB, RELAY_TEXT,
         ("--connections", 8, "--stalled", 1)),
    Load("relay-bulk", "Relay, 1 connection, one way", "haproxy", CPU_GIB, GIB, RELAY_TEXT,
         ("--connections", 2, "--stalled", 1, "--one-way")),
    Load("resp-set", "SET, 50 connections, 16 commands at once", "redis", CPU_COMMAND, A_SECOND,
         "`redis-benchmark -t set -P 16 -c 50 -r 10000 -d 16`.", ("set",)),
    Load("resp-get", "GET, 50 connections, 16 commands at once", "redis", CPU_COMMAND, A_SECOND,
         "`redis-benchmark -t get -P 16 -c 50 -r 10000 -d 16`, after as many SET.", ("get",)),
    Load("http", "HTTP, 64 connections, a request at a time", "nginx", CPU_REQUEST, A_SECOND,
         "`wrk -t 1 -c 64`; the answer has 6 bytes."),
)
KINDS = ("relay", "resp", "http")


class Installed(Builder):
    """A program of the system: nothing to build."""

    def __init__(self, program):
        self._program = program

    def build(self, names, say):
        if not shutil.which(self._program, path=nginx.PATHS):
            raise NotBuilt(f"{self._program} is not installed")


@dataclass(frozen=True)
class Row:
    """One program under the loads of one kind."""

    name: str  # in all tables
    kind: str  # of its loads
    about: str
    builder: object
    version: object
    command: tuple  # with words in braces: {port}, {upstream}, {folder}
    says_port: bool = False  # on its standard output, as the benchmarks' own servers do
    configuration: str = ""  # of the file {folder}/configuration
    packages: str = ""
    built: str = ""  # the builder's name of the program
    needs: tuple = ()  # other programs, with Debian's package: the clients
    ours: bool = False
    environment: dict = field(default_factory=dict)

    def find_version(self):
        return self.version() if callable(self.version) else self.version


HAPROXY = """
global
  nbthread 1
  maxconn 1024
{extra}
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen relay
  bind 127.0.0.1:{{port}}
{options}
  server upstream 127.0.0.1:{{upstream}}
"""
NGINX = """
{user}daemon off;
master_process off;
pid {{folder}}/pid;
error_log stderr;
events {{{{ worker_connections 4096; }}}}
http {{{{
  access_log off;
  keepalive_requests 1000000000;
  server {{{{ listen 127.0.0.1:{{port}} backlog=65535; location / {{{{ return 200 "hello\\n"; }}}} }}}}
}}}}
"""
REDIS = ("redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "{folder}")

HAPROXY_BUILDER, SOCAT, REDIS_BUILDER = Installed("haproxy"), Installed("socat"), Installed("redis-server")
NGINX_BUILDER = Installed("nginx")
EXAMPLES = SwiftPackage(REPOSITORY / "Examples")
GO = Go("GoServices", "go-services")
WRK = (("wrk", "wrk"),)
REDIS_CLIENT = (("redis-benchmark", "redis-tools"),)


def _ours(name, *arguments):
    return (str(SWIFT.program(name)), *arguments)


def _nginx_configuration():
    return NGINX.format(user="user root root;\n" if os.geteuid() == 0 else "")


def haproxy_version():
    return program_version("haproxy", "haproxy", "-v")()


ROWS = (
    Row("haproxy", "relay", "without splice", HAPROXY_BUILDER, haproxy_version,
        ("haproxy", "-db", "-f", "{folder}/configuration"), packages="haproxy",
        configuration=HAPROXY.format(extra="  nosplice", options="")),
    Row("haproxy-splice", "relay", "option splice-request, splice-response", HAPROXY_BUILDER, haproxy_version,
        ("haproxy", "-db", "-f", "{folder}/configuration"), packages="haproxy",
        configuration=HAPROXY.format(extra="", options="  option splice-request\n  option splice-response")),
    Row("ours-relay", "relay", "TCPSocket.relay in a task each", SWIFT, OURS,
        _ours("ours-async", "relay", "{upstream}"), built="ours-async", says_port=True, ours=True),
    Row("socat", "relay", "a process each, -b 65536", SOCAT, debian_package("socat", "socat"),
        ("socat", "-b", "65536", "TCP-LISTEN:{port},bind=127.0.0.1,fork,backlog=64,nodelay",
         "TCP:127.0.0.1:{upstream},nodelay"), packages="socat"),
    Row("go", "relay", "io.CopyBuffer, 64 KiB", GO, program_version("Go", "go", "version"),
        (str(PROGRAMS / "go-services"), "relay-copying", "{upstream}"), says_port=True, packages="golang-go"),
    Row("go-splice", "relay", "io.Copy, which splices", GO, program_version("Go", "go", "version"),
        (str(PROGRAMS / "go-services"), "relay", "{upstream}"), says_port=True, packages="golang-go"),
    Row("redis", "resp", "redis-server without persistence", REDIS_BUILDER,
        program_version("Redis", "redis-server", "--version"), REDIS, packages="redis-server", needs=REDIS_CLIENT),
    Row("ours-resp-callback", "resp", "readyRead, readAll, a dictionary", SWIFT, OURS,
        _ours("ours-callback", "resp"), built="ours-callback", says_port=True, ours=True, needs=REDIS_CLIENT),
    Row("ours-resp-async", "resp", "read and write in a task each, a dictionary", SWIFT, OURS,
        _ours("ours-async", "resp"), built="ours-async", says_port=True, ours=True, needs=REDIS_CLIENT),
    Row("nginx", "http", "return 200", NGINX_BUILDER, nginx.version,
        ("nginx", "-p", "{folder}", "-c", "{folder}/configuration", "-e", "stderr"),
        configuration=_nginx_configuration(), packages="nginx-light", needs=WRK),
    Row("go-http", "http", "net/http", GO, program_version("Go", "go", "version"),
        (str(PROGRAMS / "go-services"), "http"), says_port=True, packages="golang-go", needs=WRK),
    Row("ours-http", "http", "EchoServer --http of Examples", EXAMPLES, OURS,
        (str(EXAMPLES.program("EchoServer")), "--http", "--address", "127.0.0.1", "--port", "{port}"),
        built="EchoServer", ours=True, needs=WRK),
)


def by_name():
    return {row.name: row for row in ROWS}


def missing_program(row):
    """Why a row's clients cannot be run; None if they can."""
    for program, package in row.needs:
        if not shutil.which(program):
            return f"{program} is not installed; Debian's package: {package}"
    return None
