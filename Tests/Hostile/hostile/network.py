# SPDX-License-Identifier: Apache-2.0
"""The network of the run: one of its own, with long queues and many ports, and no other traffic."""

import contextlib
import ctypes
import os
import resource
import shutil
import socket
import struct
import subprocess
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
IP_BIND_ADDRESS_NO_PORT = 24
RESET = struct.pack("ii", 1, 0)


def enter():
    """Moves this process, and so all that it starts, into a network namespace of its own. Raises OSError where that is
    not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNET) != 0:
        user, group = os.getuid(), os.getgid()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    run("ip", "link", "set", "lo", "up")
    set_kernel("net.core.somaxconn", 65535)
    set_kernel("net.ipv4.ip_local_port_range", "1024 65535")
    set_kernel("net.ipv4.tcp_max_syn_backlog", 65535)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def set_kernel(name, value):
    Path("/proc/sys", name.replace(".", "/")).write_text(str(value), encoding="ascii")


@contextlib.contextmanager
def kernel_setting(name, value):
    """Has the value for a while."""
    path = Path("/proc/sys", name.replace(".", "/"))
    before = path.read_text(encoding="ascii")
    set_kernel(name, value)
    try:
        yield
    finally:
        path.write_text(before, encoding="ascii")


def run(*command, timeout=60, check=True):
    result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=timeout)
    if check and result.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}: {result.stdout.strip()}")
    return result.stdout


def has(command):
    return shutil.which(command, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is not None


def kernel_counters():
    """The namespace's TCP counters, by the names that nstat gives them."""
    counters = {}
    for path in ("/proc/net/netstat", "/proc/net/snmp"):
        lines = Path(path).read_text(encoding="ascii").splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            prefix = names.split(":")[0]
            prefix = "Tcp" if prefix == "Tcp" else prefix
            for name, value in zip(names.split()[1:], values.split()[1:]):
                counters[prefix + name] = int(value)
    return counters


def connect(port, source=None, timeout=10, receive_buffer=None):
    """A blocking client of the server on the loopback; each source address has all ports to itself."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(timeout)
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((source, 0))
    client.connect(("127.0.0.1", port))
    return client


def begin_connect(port, source=None):
    """A client that is still connecting."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if source:
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((source, 0))
    try:
        client.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    return client


def reset(client):
    """Ends it with an RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def source(index):
    """127.0.0.2 and on, so that ports do not run out."""
    return f"127.0.0.{2 + index % 8}"
