# SPDX-License-Identifier: Apache-2.0
"""A quiet place to measure in: an own network namespace, all descriptors that are allowed, and a core for each side."""

import ctypes
import fcntl
import os
import resource
import socket
import struct
from pathlib import Path

BACKLOG = 65535

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

SOMAXCONN = Path("/proc/sys/net/core/somaxconn")

_alone = False


def enter_network():
    """Moves this process, and so all that it starts, into a network namespace of its own, where the kernel's queue may
    be as long as drain needs it and no other traffic is. Returns how long the queue may be."""
    global _alone
    try:
        _unshare()
        _bring_up_loopback()
        _alone = True
        SOMAXCONN.write_text(str(BACKLOG), encoding="ascii")
    except OSError:
        pass  # What could not be had shows in the number.
    return int(SOMAXCONN.read_text(encoding="ascii"))


def is_alone():
    """Whether enter_network() has found a network namespace for this process."""
    return _alone


def _unshare():
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.unshare(CLONE_NEWNET) == 0:
        return
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")


def _bring_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))


def allow_descriptors():
    """Raises the limit of open files, which children inherit, as far as it goes; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def choose_cores(cores=None, siblings_of=None):
    """A core for the clients and one for the server, as sets; the same where there is only one. Two hardware threads of
    one core would take time from each other, so the server's is of another core where there is one."""
    cores = sorted(cores or os.sched_getaffinity(0))
    siblings = (siblings_of or _siblings)(cores[0])
    others = [core for core in cores[1:] if core not in siblings] or cores[1:] or cores
    return {cores[0]}, {others[0]}


def _siblings(core):
    try:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        return parse_cores(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return set()


def parse_cores(text):
    """The kernel's form: `0-2,8`."""
    cores = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cores |= set(range(int(first), int(last or first) + 1))
    return cores
