# SPDX-License-Identifier: Apache-2.0
"""benchmarks/run: builds, measures, writes the results and shows them."""

import argparse
import datetime
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from . import building, isolation, loads, machine, processes, servers, tables
from .certainty import LeastCertain
from .measuring import HOLD_FIRST, Setting
from .places import RESULTS
from .progress import Progress, span
from .rounds import Rounds, schedule

# Descriptors that a server or client needs beside its connections.
OTHER_DESCRIPTORS = 200

QUICK_ROUNDS = 3
QUICK_MINUTES = 2.5


def parse(arguments):
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="few servers, loads and rounds: under three minutes")
    parser.add_argument("--servers", type=names(servers.by_name()), metavar="A,B", help="only these, and the floor")
    parser.add_argument("--loads", type=names(loads.by_name()), metavar="A,B", help="only these")
    parser.add_argument("--rounds", type=positive(int), help="of every load, and no more of what is uncertain")
    parser.add_argument("--seconds", type=positive(float), default=0.5, help="that storm and echo count (0.5)")
    parser.add_argument("--minutes", type=positive(float), help="measure no longer (35; quick: 2.5)")
    parser.add_argument("--output", type=Path, help="the file of results (benchmarks/results/TIME.json)")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--list", action="store_true", help="list servers and loads")
    options = parser.parse_args(arguments)
    options.minutes = options.minutes or (QUICK_MINUTES if options.quick else 35)
    return options


def names(known):
    def parse_names(text):
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        wrong = [name for name in chosen if name not in known]
        if wrong or not chosen:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong) or 'nothing'} is not one of {', '.join(known)}")
        return chosen

    return parse_names


def positive(kind):
    def parse_number(text):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < 1e6:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
        return value

    return parse_number


def chosen_servers(options):
    floors = (servers.FLOOR, servers.FLOOR_AGAIN)
    if options.servers:
        return [s for s in servers.SERVERS if s.name in options.servers or s.name in floors]
    return [s for s in servers.SERVERS if s.quick or not options.quick]


def chosen_loads(options):
    if options.loads:
        return [load for load in loads.LOADS if load.name in options.loads]
    return [load for load in loads.LOADS if load.quick or not options.quick]


def fitted(load, most):
    """The load with no more connections than there can be, where it still means the same then."""
    if load.kind == "hold" and load.connections > most >= 2 * HOLD_FIRST:
        return replace(load, connections=most)
    return load


def main(arguments):
    options = parse(arguments)
    if options.list:
        print_list()
        return 0
    return run_interruptibly(lambda progress: run(options, progress, shlex.join(["benchmarks/run", *arguments])))


def run_interruptibly(body):
    """Calls `body` with a Progress, and returns its status; however it ends, what was started is ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress()
    try:
        return body(progress)
    except KeyboardInterrupt:
        progress.say("interrupted; everything that was started is ended")
        return 130
    finally:
        processes.end_all()
        progress.clear()


def print_list():
    for title, rows in (("servers", [[s.name, s.about] for s in servers.SERVERS]),
                        ("loads", [[load.name, load.title] for load in loads.LOADS])):
        print(title)
        for name, about in rows:
            print(f"  {name:20} {about}")


def run(options, progress, command):
    wanted = chosen_servers(options)
    skipped = {}
    if not options.no_build:
        skipped = building.build_all(wanted, progress)
    else:
        skipped = {s.name: "not built" for s in wanted if not s.is_built()}
    for server in wanted:
        refusal = None if server.name in skipped else server.refusal()
        if refusal:
            skipped[server.name] = f"this machine does not let it run: {refusal}"
    for name, reason in skipped.items():
        progress.say(f"skipped: {name}: {reason}")
    if servers.FLOOR in skipped:
        progress.say("Nothing can be measured without the floor and the load generator.")
        return 2
    here = [s for s in wanted if s.name not in skipped]
    versions = {s.name: {"about": s.about, "version": s.find_version(), "registers": s.registers, "ours": s.ours,
                         "natural_form_of": s.natural_form_of} for s in here}

    descriptors = isolation.allow_descriptors()
    queue = isolation.enter_network()
    most = min(descriptors - OTHER_DESCRIPTORS, queue)
    wanted_loads = [fitted(load, most) for load in chosen_loads(options)]
    here_loads = [load for load in wanted_loads if load.connections <= most]
    left_out = {load.name: f"{load.connections:,} connections need {load.connections + OTHER_DESCRIPTORS:,} open files "
                           f"(limit {descriptors:,}) and a queue as long (net.core.somaxconn {queue:,})"
                for load in wanted_loads if load.connections > most}
    for name, reason in left_out.items():
        progress.say(f"left out: {name}: {reason}")

    busy = machine.warn_if_busy(progress)
    client_cores, server_cores = isolation.choose_cores()
    if client_cores == server_cores:
        progress.say("There is one core only: clients and server take it from each other.")
    setting = Setting(client_cores, server_cores, options.seconds, warm_up=0.2)

    def rounds_of(load):
        return options.rounds or (min(load.rounds, QUICK_ROUNDS) if options.quick else load.rounds)

    steps = schedule(here_loads, here, rounds_of)
    started = datetime.datetime.now(datetime.timezone.utc)
    path = options.output or RESULTS / f"{started:%Y-%m-%dT%H-%M-%SZ}.json"
    found = {
        "command": command,
        "commit": machine.commit(),
        "started": started.isoformat(timespec="seconds"),
        "machine": {**machine.describe(), "busy": busy, "somaxconn": queue, "open_files": descriptors,
                    "client_cores": sorted(client_cores), "server_cores": sorted(server_cores)},
        "seconds": options.seconds,
        "servers": versions,
        "skipped": skipped,
        "left_out": left_out,
        "complete": False,
    }
    floor = next(server for server in here if server.name == servers.FLOOR)
    more = {} if options.quick or options.rounds else {"more": LeastCertain(steps)}
    rounds = Rounds(steps, setting, progress, options.minutes * 60, floor=floor, **more)
    begun = time.monotonic()
    rounds.run_and_keep(found, path)
    tables.print_all(found)
    print(tables.LEGEND)
    return conclude(found, path, rounds, time.monotonic() - begun)


def conclude(found, path, rounds, seconds):
    print(f"\n{len(found['measurements'])} measurements in {span(seconds)}, kept in {path}")
    if rounds.stopped_early:
        print("The time that was allowed (--minutes) was up before all rounds were.")
    noisy = tables.noisy(found["measurements"])
    if noisy:
        print(f"WARNING: the machine is noisy: the floor differs from itself by more than {100 * tables.NOISY:.0f} % in "
              f"half of the rounds of {', '.join(noisy)}. Small differences there say nothing; run it again on a quiet "
              "machine.", file=sys.stderr)
    return tables.print_failures(found["measurements"])
