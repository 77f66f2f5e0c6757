# SPDX-License-Identifier: Apache-2.0
"""benchmarks/loops: builds, measures servers with two event loops, writes the results and shows them."""

import os

from . import isolation, loops_measuring, loops_report, loops_rows, machine
from .command_line import OTHER_DESCRIPTORS, positive
from .loops_rows import BALANCE, IDLE, KINDS, LOADS, ROWS, STUCK_FLOOR, WORK_FLOOR
from .processes import Failed
from .rounds import Step
from .suite import Suite

WARM_UP = 1


def chosen_rows(options):
    """The rows that were asked for and the floors of their loads."""
    kinds = options.loads or KINDS
    floors = {floor for kind, floor in (("work", WORK_FLOOR), ("stuck", STUCK_FLOOR), ("idle", STUCK_FLOOR))
              if kind in kinds}
    return [row for row in ROWS
            if not options.servers or row.name in options.servers or row.name in floors]


def schedule(rows, kinds, rounds):
    """All steps: the first round of every load, then the second, so that an early end leaves whole rounds."""
    return [Step(load, row, number, rounds)
            for number in range(1, rounds + 1)
            for load in LOADS if load.kind in kinds and (load.kind != IDLE.kind or number == 1)
            for row in rows if load.kind in row.loads]


def perform(run):
    options, progress = run.options, run.progress
    if not any(row.name in loops_rows.FLOORS for row in run.rows):
        raise Failed("Nothing can be measured without the floors and the load generator.")
    cores = os.sched_getaffinity(0)
    warn(progress, len(cores))
    busy = machine.warn_if_busy(progress)
    client_cores, server_cores = loops_measuring.choose_cores(cores)
    descriptors = isolation.allow_descriptors()
    isolation.enter_network()
    kinds = [kind for kind in options.loads or KINDS if fits(kind, descriptors, progress)]
    burn_rounds = loops_measuring.calibrate(options.burn_microseconds, server_cores)
    setting = loops_measuring.Setting(client_cores, server_cores, options.seconds, WARM_UP,
                                      burn_rounds=burn_rounds)
    return run.measure(setting, busy, schedule(run.rows, kinds, options.rounds), loops_measuring.measure,
                       burn_rounds=burn_rounds, burn_microseconds=options.burn_microseconds)


def warn(progress, cores):
    progress.say("Two loops and their clients need all of two cores: do not use the machine meanwhile.")
    if cores < 2:
        progress.say("There is one core only: a second loop can bring nothing here.")


def fits(kind, descriptors, progress):
    """Whether there may be as many connections as a load needs."""
    needed = loops_measuring.balance.OPENED + OTHER_DESCRIPTORS
    if kind != BALANCE.kind or needed <= descriptors:
        return True
    progress.say(f"left out: {kind}: it needs {needed:,} open files, and the limit is {descriptors:,}")
    return False


def describe(row):
    return {"about": row.about, "version": row.server.find_version(), "ours": row.ours,
            "options": " ".join(map(str, row.arguments + row.stall_arguments))}


SUITE = Suite(
    "loops", __doc__,
    "Both loops and the clients need all of two cores: do not use the machine meanwhile. All servers and loads, 3 rounds "
    "of 10 s, take about 22 minutes.",
    ROWS, KINDS, rounds=3, seconds=10, counts="work and stuck count", report=loops_report, choose=chosen_rows,
    perform=perform, describe=describe, listing="  {0.name:28} {0.about}",
    options={"--seconds": ("--burn-microseconds", {"type": positive(int), "default": 300, "metavar": "N",
                                                   "help": "the work of a message, as time of the floor (300)"})})
