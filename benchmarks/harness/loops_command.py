# SPDX-License-Identifier: Apache-2.0
"""benchmarks/loops: builds, measures servers with two event loops, writes the results and shows them."""

import argparse
import datetime
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from . import building, figures, isolation, loops_measuring, loops_report, loops_rows, machine, results
from .command_line import names, positive, run_interruptibly
from .loops_rows import BALANCE, IDLE, KINDS, LOADS, ROWS, STUCK_FLOOR, WORK_FLOOR
from .places import BENCHMARKS, CHARTS, LOOPS_REPORT, LOOPS_RESULTS
from .processes import Failed
from .progress import span
from .rounds import Rounds, Step

WARM_UP = 1
# Descriptors that a server or client needs beside its connections.
OTHER_DESCRIPTORS = 200


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="benchmarks/loops", description=__doc__, allow_abbrev=False,
        epilog="Both loops and the clients need all of two cores: do not use the machine meanwhile. All servers and "
               "loads, 3 rounds of 10 s, take about 22 minutes.")
    parser.add_argument("--servers", type=names(loops_rows.by_name()), metavar="A,B", help="only these, and the floors")
    parser.add_argument("--loads", type=names(KINDS), metavar="A,B", help=f"only these of {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=positive(int), default=3, help="through all servers; figures are medians (3)")
    parser.add_argument("--seconds", type=positive(float), default=10, help="that work and stuck count (10)")
    parser.add_argument("--burn-microseconds", type=positive(int), default=300, metavar="N",
                        help="the work of a message, as time of the floor (300)")
    parser.add_argument("--results", type=Path, help="the file of results (benchmarks/results/loops/TIME.json)")
    parser.add_argument("--output", type=Path, help="the report (benchmarks/RESULTS-LOOPS.md of a run with everything, "
                                                    "none of others)")
    parser.add_argument("--charts", type=Path, default=CHARTS, help="folder of the report's chart (benchmarks/charts)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, make the report of these results")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--list", action="store_true", help="list the servers")
    options = parser.parse_args(arguments)
    if options.output is None and (options.report or not options.servers and not options.loads):
        options.output = LOOPS_REPORT
    return options


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


def main(arguments):
    options = parse(arguments)
    if options.list:
        for row in ROWS:
            print(f"  {row.name:28} {row.about}")
        return 0
    if options.report:
        try:
            print(loops_report.write(options.report, options.output, options.charts))
        except results.NoResults as error:
            print(f"benchmarks/loops: {error}", file=sys.stderr)
            return 1
        return 0
    return run_interruptibly(lambda progress: run(options, progress, shlex.join(["benchmarks/loops", *arguments])))


def run(options, progress, command):
    wanted = chosen_rows(options)
    skipped = build(wanted, options.no_build, progress)
    here = [row for row in wanted if row.name not in skipped]
    if not any(row.name in loops_rows.FLOORS for row in here):
        progress.say("Nothing can be measured without the floors and the load generator.")
        return 2

    busy = machine.busy()
    warn(progress, busy, len(os.sched_getaffinity(0)))
    client_cores, server_cores = loops_measuring.choose_cores(os.sched_getaffinity(0))
    descriptors = isolation.allow_descriptors()
    isolation.enter_network()
    kinds = [kind for kind in options.loads or KINDS if fits(kind, descriptors, progress)]
    try:
        burn_rounds = loops_measuring.calibrate(options.burn_microseconds, server_cores)
    except Failed as error:
        progress.say(str(error))
        return 2

    started = datetime.datetime.now(datetime.timezone.utc)
    path = options.results or LOOPS_RESULTS / f"{started:%Y-%m-%dT%H-%M-%SZ}.json"
    found = {
        "command": command,
        "commit": machine.commit(),
        "started": started.isoformat(timespec="seconds"),
        "machine": {**machine.describe(), "busy": busy, "client_cores": sorted(client_cores),
                    "server_cores": sorted(server_cores)},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "burn_rounds": burn_rounds,
        "burn_microseconds": options.burn_microseconds,
        "servers": {row.name: describe(row) for row in here},
        "skipped": skipped,
        "complete": False,
    }
    setting = loops_measuring.Setting(client_cores, server_cores, options.seconds, WARM_UP, burn_rounds)
    steps = schedule(here, kinds, options.rounds)
    rounds = Rounds(steps, setting, progress, float("inf"), measure=loops_measuring.measure)
    begun = time.monotonic()
    try:
        rounds.run()
        found["complete"] = True
    except KeyboardInterrupt:
        if rounds.measurements:
            progress.say(f"what was measured until now is kept in {path}")
        raise
    finally:
        found["measurements"] = rounds.measurements
        if rounds.measurements:
            results.write(found, path)
    progress.clear()
    return conclude(options, found, path, time.monotonic() - begun)


def build(rows, no_build, progress):
    """{name: reason} of the rows that cannot be run."""
    programs = {row.server.name: row.server for row in rows}
    if no_build:
        missing = {name: "not built" for name, server in programs.items() if not server.is_built()}
    else:
        missing = building.build_all(list(programs.values()), progress)
    for name, reason in missing.items():
        progress.say(f"skipped: {name}: {reason}")
    return {row.name: missing[row.server.name] for row in rows if row.server.name in missing}


def warn(progress, busy, cores):
    progress.say("Two loops and their clients need all of two cores: do not use the machine meanwhile.")
    if cores < 2:
        progress.say("There is one core only: a second loop can bring nothing here.")
    if busy > machine.BUSY:
        progress.say(f"The machine is busy: other programs use {100 * busy:.0f} % of its processors, which changes the "
                     "figures.")


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


def conclude(options, found, path, seconds):
    loops_report.print_all(found)
    print(f"\n{len(found['measurements'])} measurements in {span(seconds)}, kept in {path}", flush=True)
    if options.output:
        # A program of its own: to draw, it may have to be run by another Python.
        subprocess.run([BENCHMARKS / "loops", "--report", path, "--output", options.output, "--charts", options.charts],
                       check=False)
    failed = figures.failures(found["measurements"])
    for failure in failed:
        print(f"FAILED: {failure['load']}, round {failure['round']}: {failure['failure']}", file=sys.stderr)
    return 1 if failed else 0
