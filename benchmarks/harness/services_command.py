# SPDX-License-Identifier: Apache-2.0
"""benchmarks/services: builds, measures relays and servers of small requests, writes the results and shows them."""

import os

from . import building, isolation, machine, services_measuring, services_report, services_rows
from .measuring import Setting
from .rounds import Step
from .services_rows import KINDS, LOADS, ROWS
from .suite import Suite

WARM_UP = 0.3


def chosen_rows(options):
    """The rows that were asked for, and those that they are compared with."""
    kinds = {row.kind for row in ROWS if not options.servers or row.name in options.servers}
    kinds &= set(options.loads or KINDS)
    bases = {load.base for load in LOADS if load.kind in kinds}
    return [row for row in ROWS
            if row.kind in kinds and (not options.servers or row.name in options.servers or row.name in bases)]


def schedule(rows, rounds):
    """All steps: the first round of every load, then the second, so that an early end leaves whole rounds."""
    return [Step(load, row, number, rounds)
            for number in range(1, rounds + 1) for load in LOADS for row in rows if row.kind == load.kind]


def build(rows, no_build, progress):
    """{name: reason} of the rows that cannot be run. The load generator is built, too."""
    missing = {}
    steps = {(id(building.CMAKE), ""): (building.CMAKE, "")}
    steps |= {(id(row.builder), row.built): (row.builder, row.built) for row in rows}
    failed = {}
    for key, (builder, name) in steps.items():
        label = name or type(builder).__name__
        if no_build:
            continue
        try:
            builder.build([name] if name else [], lambda text, label=label: progress.show(f"building {label}: {text}"))
        except building.NotBuilt as error:
            failed[key] = str(error)
    for row in rows:
        reason = failed.get((id(row.builder), row.built)) or services_rows.missing_program(row)
        if reason is None and no_build and "/" in row.command[0] and not os.path.exists(row.command[0]):
            reason = "not built"
        if reason is not None:
            missing[row.name] = reason + (f"; Debian's packages for it: {row.packages}" if row.packages else "")
            progress.say(f"skipped: {row.name}: {missing[row.name]}")
    return missing


def perform(run):
    busy = machine.warn_if_busy(run.progress)
    client_cores, server_cores = isolation.choose_cores()
    isolation.allow_descriptors()
    isolation.enter_network()
    setting = Setting(client_cores, server_cores, run.options.seconds, WARM_UP)
    return run.measure(setting, busy, schedule(run.rows, run.options.rounds), services_measuring.measure)


def describe(row):
    return {"about": row.about, "version": row.find_version(), "ours": row.ours}


SUITE = Suite(
    "services", __doc__, "All rows and loads, 5 rounds of 2 s, take about 10 minutes. Do not use the machine meanwhile.",
    ROWS, KINDS, rounds=5, seconds=2, called="rows", chosen="only these rows", report=services_report, choose=chosen_rows,
    build=build, perform=perform, describe=describe, listing="  {0.name:20} {0.kind:6} {0.about}", marks={"services": True})
