# SPDX-License-Identifier: Apache-2.0
"""benchmarks/services: builds, measures relays and servers of small requests, writes the results and shows them."""

import argparse
import datetime
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from . import building, figures, isolation, machine, results, services_measuring, services_report, services_rows
from .command_line import names, positive, run_interruptibly
from .places import BENCHMARKS, CHARTS, SERVICES_REPORT, SERVICES_RESULTS
from .progress import span
from .rounds import Rounds, Step
from .services_rows import KINDS, LOADS, ROWS


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="benchmarks/services", description=__doc__, allow_abbrev=False,
        epilog="All rows and loads, 5 rounds of 2 s, take about 10 minutes. Do not use the machine meanwhile.")
    parser.add_argument("--servers", type=names(services_rows.by_name()), metavar="A,B", help="only these rows")
    parser.add_argument("--loads", type=names(KINDS), metavar="A,B", help=f"only these of {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=positive(int), default=5, help="through all rows; figures are medians (5)")
    parser.add_argument("--seconds", type=positive(float), default=2, help="that a load counts (2)")
    parser.add_argument("--results", type=Path, help="the file of results (benchmarks/results/services/TIME.json)")
    parser.add_argument("--output", type=Path, help="the report (benchmarks/RESULTS-SERVICES.md of a run with "
                                                    "everything, none of others)")
    parser.add_argument("--charts", type=Path, default=CHARTS, help="folder of the report's chart (benchmarks/charts)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, make the report of these results")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--list", action="store_true", help="list the rows")
    options = parser.parse_args(arguments)
    if options.output is None and (options.report or not options.servers and not options.loads):
        options.output = SERVICES_REPORT
    return options


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


def main(arguments):
    options = parse(arguments)
    if options.list:
        for row in ROWS:
            print(f"  {row.name:20} {row.kind:6} {row.about}")
        return 0
    if options.report:
        try:
            print(services_report.write(options.report, options.output, options.charts))
        except results.NoResults as error:
            print(f"benchmarks/services: {error}", file=sys.stderr)
            return 1
        return 0
    return run_interruptibly(lambda progress: run(options, progress, shlex.join(["benchmarks/services", *arguments])))


def run(options, progress, command):
    wanted = chosen_rows(options)
    skipped = build(wanted, options.no_build, progress)
    here = [row for row in wanted if row.name not in skipped]
    busy = machine.busy()
    if busy > machine.BUSY:
        progress.say(f"The machine is busy: other programs use {100 * busy:.0f} % of its processors, which changes the "
                     "figures.")
    client_cores, server_cores = isolation.choose_cores()
    isolation.allow_descriptors()
    isolation.enter_network()
    started = datetime.datetime.now(datetime.timezone.utc)
    path = options.results or SERVICES_RESULTS / f"{started:%Y-%m-%dT%H-%M-%SZ}.json"
    found = {
        "services": True,
        "command": command,
        "commit": machine.commit(),
        "started": started.isoformat(timespec="seconds"),
        "machine": {**machine.describe(), "busy": busy, "client_cores": sorted(client_cores),
                    "server_cores": sorted(server_cores)},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "servers": {row.name: {"about": row.about, "version": row.find_version(), "ours": row.ours} for row in here},
        "skipped": skipped,
        "complete": False,
    }
    setting = services_measuring.Setting(client_cores, server_cores, options.seconds)
    rounds = Rounds(schedule(here, options.rounds), setting, progress, float("inf"),
                    measure=services_measuring.measure)
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


def conclude(options, found, path, seconds):
    services_report.print_all(found)
    print(f"\n{len(found['measurements'])} measurements in {span(seconds)}, kept in {path}", flush=True)
    if options.output:
        # A program of its own: to draw, it may have to be run by another Python.
        subprocess.run([BENCHMARKS / "services", "--report", path, "--output", options.output,
                        "--charts", options.charts], check=False)
    failed = figures.failures(found["measurements"])
    for failure in failed:
        print(f"FAILED: {failure['load']}, round {failure['round']}: {failure['failure']}", file=sys.stderr)
    return 1 if failed else 0
