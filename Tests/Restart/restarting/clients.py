# SPDX-License-Identifier: Apache-2.0
"""Clients in a network of their own, so that what the servers' kernel counts is the servers' doing."""

import json
import os
import subprocess
import time

from hostile.network import run
from hostile.report import Failed

SERVER = "10.76.0.1"
CABLE = "clients"
# How long the clients may take to end: they give up after ten seconds.
LONGEST_END = 60


# One processor takes the packets of each direction from the cable. Otherwise those that the kernel answers with on one
# processor and those that a program sends on another overtake each other, and the last ones of a connection find a socket
# that is gone already, which is a reset that no server is the reason of.
IN_ORDER = "mount -t sysfs none /sys && echo 1 >/sys/class/net/{}/queues/rx-0/rps_cpus"


def lay_cable():
    """Gives this process's network the servers' address, before they listen."""
    run("ip", "link", "add", "servers", "type", "veth", "peer", "name", CABLE)
    run("ip", "address", "add", f"{SERVER}/24", "dev", "servers")
    run("ip", "link", "set", "servers", "up")
    run("unshare", "--mount", "sh", "-ec", IN_ORDER.format("servers"))


def take_cable():
    """Which takes the end of the clients with it."""
    run("ip", "link", "delete", "servers", check=False)


class Clients:
    """The program that connects, in a network namespace that one cable connects to that of this process."""

    def __init__(self, program, options, way):
        self._namespace = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        try:
            self._connect()
            self._child = subprocess.Popen(
                [*self._inside(), program, SERVER, str(way.port), "10.77.0.1", str(options.rate), str(options.held),
                 way.protocol], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except BaseException:
            self._namespace.kill()
            self._namespace.wait()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()
        self._namespace.kill()
        self._namespace.wait()

    def _inside(self):
        return ["nsenter", f"--net=/proc/{self._namespace.pid}/ns/net"]

    def _connect(self):
        own = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + LONGEST_END
        while os.readlink(f"/proc/{self._namespace.pid}/ns/net") == own:
            if time.monotonic() > deadline:
                raise Failed("there is no network for the clients")
            time.sleep(0.005)
        run("ip", "link", "set", CABLE, "netns", self._namespace.pid)
        run("ip", "route", "add", "10.77.0.0/16", "via", "10.76.0.2")
        run(*self._inside(), "sh", "-ec", f"""
            ip link set {CABLE} up
            ip link set lo up
            ip address add 10.76.0.2/24 dev {CABLE}
            ip route add local 10.77.0.0/16 dev lo
            echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range
            echo 1000000 >/proc/sys/net/ipv4/tcp_max_tw_buckets
        """)
        run(*self._inside(), "unshare", "--mount", "sh", "-ec", IN_ORDER.format(CABLE))

    def begin_phase(self):
        self._child.stdin.write("\n")
        self._child.stdin.flush()

    def end(self):
        """The figures of each phase, and of the held connections."""
        output, _ = self._child.communicate(timeout=LONGEST_END)
        if self._child.returncode != 0:
            raise Failed(f"the clients ended with {self._child.returncode}")
        return [json.loads(line) for line in output.splitlines()]
