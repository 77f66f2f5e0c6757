# SPDX-License-Identifier: Apache-2.0
"""benchmarks/tls: builds, measures servers of encrypted connections, writes the results and shows them."""

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from . import building, figures, isolation, machine, results, tls_measuring, tls_report, tls_rows
from .command_line import names, positive, run_interruptibly
from .places import TLS_REPORT, TLS_RESULTS
from .processes import Failed
from .progress import span
from .rounds import Rounds, Step
from .tls_rows import FLOOR, LOADS, ROWS, takes

WARM_UP = 0.5
DESCRIPTORS = 3000


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="benchmarks/tls", description=__doc__, allow_abbrev=False,
        epilog="Servers and clients need a core each. All servers and loads, 2 rounds of 2 s, take about 10 minutes once "
               "all is built.")
    parser.add_argument("--servers", type=names(tls_rows.rows_by_name()), metavar="A,B", help="only these, and the floors")
    parser.add_argument("--loads", type=names(tls_rows.loads_by_name()), metavar="A,B",
                        help=f"only these of {', '.join(tls_rows.loads_by_name())}")
    parser.add_argument("--rounds", type=positive(int), default=2, help="through all servers; figures are medians (2)")
    parser.add_argument("--seconds", type=positive(float), default=2, help="that a load counts (2)")
    parser.add_argument("--results", type=Path, help="the file of results (benchmarks/results/tls/TIME.json)")
    parser.add_argument("--output", type=Path, help="the report (benchmarks/RESULTS-TLS.md of a run with everything, none "
                                                    "of others)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, make the report of these results")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--build-only", action="store_true", help="measure nothing")
    parser.add_argument("--list", action="store_true", help="list the servers")
    options = parser.parse_args(arguments)
    if options.output is None and (options.report or not options.servers and not options.loads):
        options.output = TLS_REPORT
    return options


def chosen_rows(options):
    """The rows that were asked for, and the floors."""
    return [row for row in ROWS
            if not options.servers or row.name in options.servers or row.name in (FLOOR, tls_rows.IDLE_FLOOR)]


def schedule(rows, loads, rounds):
    """All steps: the first round of every load, then the second, so that an early end leaves whole rounds."""
    return [Step(load, row, number, rounds) for number in range(1, rounds + 1) for load in loads for row in rows
            if takes(row, load)]


def main(arguments):
    options = parse(arguments)
    if options.list:
        for row in ROWS:
            print(f"  {row.name:24} {row.server.about}")
        return 0
    if options.report:
        try:
            print(tls_report.write(options.report, options.output))
        except results.NoResults as error:
            print(f"benchmarks/tls: {error}", file=sys.stderr)
            return 1
        return 0
    return run_interruptibly(lambda progress: run(options, progress, shlex.join(["benchmarks/tls", *arguments])))


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


def run(options, progress, command):
    wanted = chosen_rows(options)
    skipped = build(wanted, options.no_build, progress)
    here = [row for row in wanted if row.name not in skipped]
    if FLOOR in skipped or not tls_measuring.TLS_LOAD_GENERATOR.exists():
        progress.say("Nothing can be measured without the floor and the load generator: they need libssl-dev.")
        return 2
    if options.build_only:
        return 0
    busy = machine.busy()
    if busy > machine.BUSY:
        progress.say(f"The machine is busy: other programs use {100 * busy:.0f} % of its processors, which changes the "
                     "figures.")
    client_cores, server_cores = isolation.choose_cores()
    if isolation.allow_descriptors() < DESCRIPTORS:
        progress.say(f"Some loads need {DESCRIPTORS:,} open files (ulimit -Hn).")
        return 2
    isolation.enter_network()
    with tempfile.TemporaryDirectory() as folder:
        try:
            tls_measuring.make_certificates(Path(folder))
        except Failed as error:
            progress.say(str(error))
            return 2
        setting = tls_measuring.Setting(client_cores, server_cores, options.seconds, WARM_UP, Path(folder))
        return measure(options, progress, command, here, skipped, busy, setting)


def measure(options, progress, command, here, skipped, busy, setting):
    started = datetime.datetime.now(datetime.timezone.utc)
    path = options.results or TLS_RESULTS / f"{started:%Y-%m-%dT%H-%M-%SZ}.json"
    found = {
        "kind": "tls",
        "command": command,
        "commit": machine.commit(),
        "started": started.isoformat(timespec="seconds"),
        "machine": {**machine.describe(), "busy": busy, "client_cores": sorted(setting.client_cores),
                    "server_cores": sorted(setting.server_cores)},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "servers": {row.name: {"about": row.server.about, "version": row.server.find_version(), "ours": row.ours,
                               "options": " ".join(row.arguments)} for row in here},
        "skipped": skipped,
        "complete": False,
    }
    loads = [load for load in LOADS if not options.loads or load.name in options.loads]
    rounds = Rounds(schedule(here, loads, options.rounds), setting, progress, float("inf"), measure=tls_measuring.measure)
    begun = time.monotonic()
    try:
        rounds.run()
        found["complete"] = True
    finally:
        found["measurements"] = rounds.measurements
        if rounds.measurements:
            results.write(found, path)
            progress.say(f"{len(rounds.measurements)} measurements in {span(time.monotonic() - begun)}, kept in "
                         f"{os.path.relpath(path)}")
    progress.clear()
    tls_report.print_all(found)
    if options.output:
        print(tls_report.write(path, options.output))
    failed = figures.failures(found["measurements"])
    for failure in failed:
        print(f"FAILED: {failure['load']}, {failure['server']}, round {failure['round']}: {failure['failure']}",
              file=sys.stderr)
    return 1 if failed else 0
