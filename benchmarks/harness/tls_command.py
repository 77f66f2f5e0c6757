# SPDX-License-Identifier: Apache-2.0
"""benchmarks/tls: builds, measures servers of encrypted connections, writes the results and shows them."""

import tempfile
from pathlib import Path

from . import isolation, machine, tls_measuring, tls_report, tls_rows
from .processes import Failed
from .rounds import Step
from .suite import Suite
from .tls_rows import FLOOR, LOADS, ROWS, takes

WARM_UP = 0.5
DESCRIPTORS = 3000


def chosen_rows(options):
    """The rows that were asked for, and the floors."""
    return [row for row in ROWS
            if not options.servers or row.name in options.servers or row.name in (FLOOR, tls_rows.IDLE_FLOOR)]


def schedule(rows, loads, rounds):
    """All steps: the first round of every load, then the second, so that an early end leaves whole rounds."""
    return [Step(load, row, number, rounds) for number in range(1, rounds + 1) for load in loads for row in rows
            if takes(row, load)]


def perform(run):
    options = run.options
    if FLOOR in run.skipped or not tls_measuring.TLS_LOAD_GENERATOR.exists():
        raise Failed("Nothing can be measured without the floor and the load generator: they need libssl-dev.")
    if options.build_only:
        return 0
    busy = machine.warn_if_busy(run.progress)
    client_cores, server_cores = isolation.choose_cores()
    if isolation.allow_descriptors() < DESCRIPTORS:
        raise Failed(f"Some loads need {DESCRIPTORS:,} open files (ulimit -Hn).")
    isolation.enter_network()
    loads = [load for load in LOADS if not options.loads or load.name in options.loads]
    with tempfile.TemporaryDirectory() as folder:
        tls_measuring.make_certificates(Path(folder))
        setting = tls_measuring.Setting(client_cores, server_cores, options.seconds, WARM_UP,
                                        certificates=Path(folder))
        return run.measure(setting, busy, schedule(run.rows, loads, options.rounds), tls_measuring.measure)


def describe(row):
    return {"about": row.server.about, "version": row.server.find_version(), "ours": row.ours,
            "options": " ".join(row.arguments)}


SUITE = Suite(
    "tls", __doc__,
    "Servers and clients need a core each. All servers and loads, 2 rounds of 2 s, take about 10 minutes once all is built.",
    ROWS, tls_rows.loads_by_name(), rounds=2, seconds=2, report=tls_report, choose=chosen_rows, perform=perform,
    describe=describe, listing="  {0.name:24} {0.server.about}", marks={"kind": "tls"}, has_chart=False,
    options={"--no-build": ("--build-only", {"action": "store_true", "help": "measure nothing"})})
