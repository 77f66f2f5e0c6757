# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/loops, tls and services have in common: options, a run whose results are kept, and how it ends."""

import argparse
import datetime
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import building, machine, results, tables
from .command_line import names, positive, run_interruptibly
from .places import BENCHMARKS, CHARTS, RESULTS
from .processes import Failed
from .progress import span
from .rounds import Rounds


def build_servers(rows, no_build, progress):
    """{name: reason} of the rows that cannot be run."""
    programs = {row.server.name: row.server for row in rows}
    if no_build:
        missing = {name: "not built" for name, server in programs.items() if not server.is_built()}
    else:
        missing = building.build_all(list(programs.values()), progress)
    for name, reason in missing.items():
        progress.say(f"skipped: {name}: {reason}")
    return {row.name: missing[row.server.name] for row in rows if row.server.name in missing}


@dataclass(frozen=True)
class Suite:
    """One of these commands: it measures rows, which are servers with some options, under loads."""

    name: str  # benchmarks/NAME
    about: str  # at the head of --help
    epilog: str  # at its end
    rows: tuple
    loads: object  # the names that --loads takes
    rounds: int
    seconds: float
    report: object  # the module with print_all() and write()
    choose: object  # choose(options): the rows to measure
    perform: object  # perform(run): prepares the machine for a Run, calls its measure() and returns the status
    describe: object  # describe(row): what the results say of it
    listing: str  # the format of a row in --list
    build: object = build_servers
    options: dict = field(default_factory=dict)  # of its own: (name, settings) by the option that each follows
    marks: dict = field(default_factory=dict)  # by which the report recognises its results
    has_chart: bool = True
    called: str = "servers"  # what --help calls the rows
    chosen: str = "only these, and the floors"  # the help of --servers
    counts: str = "a load counts"  # the end of the help of --seconds

    @property
    def report_file(self):
        return BENCHMARKS / f"RESULTS-{self.name.upper()}.md"

    def parse(self, arguments):
        parser = argparse.ArgumentParser(prog=f"benchmarks/{self.name}", description=self.about, allow_abbrev=False,
                                         epilog=self.epilog)

        def add(option, **settings):
            parser.add_argument(option, **settings)
            if option in self.options:
                name, more = self.options[option]
                parser.add_argument(name, **more)

        add("--servers", type=names([row.name for row in self.rows]), metavar="A,B", help=self.chosen)
        add("--loads", type=names(self.loads), metavar="A,B", help=f"only these of {', '.join(self.loads)}")
        add("--rounds", type=positive(int), default=self.rounds,
            help=f"through all {self.called}; figures are medians ({self.rounds})")
        add("--seconds", type=positive(float), default=self.seconds, help=f"that {self.counts} ({self.seconds})")
        add("--results", type=Path, help=f"the file of results (benchmarks/results/{self.name}/TIME.json)")
        add("--output", type=Path, help=f"the report (benchmarks/{self.report_file.name} of a run with everything, none of "
                                        "others)")
        if self.has_chart:
            add("--charts", type=Path, default=CHARTS, help="folder of the report's chart (benchmarks/charts)")
        add("--report", type=Path, metavar="FILE", help="measure nothing, make the report of these results")
        add("--no-build", action="store_true", help="take the programs as they are")
        add("--list", action="store_true", help=f"list the {self.called}")
        options = parser.parse_args(arguments)
        if options.output is None and (options.report or not options.servers and not options.loads):
            options.output = self.report_file
        return options

    def main(self, arguments):
        options = self.parse(arguments)
        if options.list:
            for row in self.rows:
                print(self.listing.format(row))
            return 0
        if options.report:
            try:
                print(self.report.write(options.report, options.output, *([options.charts] if self.has_chart else [])))
            except results.NoResults as error:
                print(f"benchmarks/{self.name}: {error}", file=sys.stderr)
                return 1
            return 0
        command = shlex.join([f"benchmarks/{self.name}", *arguments])
        return run_interruptibly(lambda progress: self._run(options, command, progress))

    def _run(self, options, command, progress):
        try:
            return self.perform(Run(self, options, command, progress))
        except Failed as error:
            progress.say(str(error))
            return 2


class Run:
    """One run of a suite, whose programs are built."""

    def __init__(self, suite, options, command, progress):
        self.suite, self.options, self.command, self.progress = suite, options, command, progress
        wanted = suite.choose(options)
        self.skipped = suite.build(wanted, options.no_build, progress)
        self.rows = [row for row in wanted if row.name not in self.skipped]

    def measure(self, setting, busy, steps, measure_one, **more):
        """Runs the steps, keeps their results, of which `more` is a part, and shows them. Returns the status."""
        suite, options = self.suite, self.options
        started = datetime.datetime.now(datetime.timezone.utc)
        found = {
            **suite.marks,
            "command": self.command,
            "commit": machine.commit(),
            "started": started.isoformat(timespec="seconds"),
            "machine": {**machine.describe(), "busy": busy, "client_cores": sorted(setting.client_cores),
                        "server_cores": sorted(setting.server_cores)},
            "seconds": options.seconds,
            "rounds": options.rounds,
            **more,
            "servers": {row.name: suite.describe(row) for row in self.rows},
            "skipped": self.skipped,
            "complete": False,
        }
        # In a folder of their own: the report of benchmarks/run is made of the latest file in RESULTS.
        path = options.results or RESULTS / suite.name / f"{started:%Y-%m-%dT%H-%M-%SZ}.json"
        begun = time.monotonic()
        Rounds(steps, setting, self.progress, float("inf"), measure=measure_one).run_and_keep(found, path)
        suite.report.print_all(found)
        print(f"\n{len(found['measurements'])} measurements in {span(time.monotonic() - begun)}, kept in {path}",
              flush=True)
        if options.output:
            charts = ["--charts", options.charts] if suite.has_chart else []
            # A program of its own: to draw, it may have to be run by another Python.
            subprocess.run([BENCHMARKS / suite.name, "--report", path, "--output", options.output, *charts], check=False)
        return tables.print_failures(found["measurements"])
