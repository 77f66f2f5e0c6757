# SPDX-License-Identifier: Apache-2.0
"""Lets clients loose on a server, restarts it, and collects what became of them."""

import sys
import time
from types import SimpleNamespace

from hostile import network

from .clients import Clients, lay_cable, take_cable

# Resets that were sent, and connections that the kernel gave up for want of room; by the names that nstat gives them.
COUNTERS = ("TcpOutRsts", "TcpExtListenDrops", "TcpExtListenOverflows")
# What says why they were.
REASONS = ("TcpExtTCPAbort", "TcpEstabResets", "TcpAttemptFails", "TcpRetransSegs", "TcpExtTW", "TcpExtTCPTimeWait",
           "TcpExtPAWS", "TcpExtTCPChallenge", "TcpExtEmbryonic", "TcpExtTCPSpurious", "TcpExtTCPSYN")


def measure(way, options, programs):
    lay_cable()
    try:
        return measure_connected(way, options, programs)
    finally:
        take_cable()


def measure_connected(way, options, programs):
    with way:
        before = network.kernel_counters()
        with Clients(programs.load, options, way) as clients:
            time.sleep(options.calm)
            clients.begin_phase()
            start = time.monotonic()
            for number in range(options.restarts):
                way.restart()
                time.sleep(options.pause)
                if sys.stderr.isatty():
                    print(f"{number + 1} of {options.restarts}", end="\r", file=sys.stderr, flush=True)
            seconds = time.monotonic() - start
            calm, new, held = clients.end()
        after = network.kernel_counters()
        complaints = way.stop()
    return SimpleNamespace(calm=calm, new=new, held=held, seconds=seconds, complaints=complaints,
                           counters={name: after[name] - before[name] for name in COUNTERS},
                           reasons={name: after[name] - before[name] for name in sorted(after)
                                    if name.startswith(REASONS) and after[name] != before[name]})
