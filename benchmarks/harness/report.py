# SPDX-License-Identifier: Apache-2.0
"""benchmarks/report: RESULTS.md and its charts, from a file of results."""

import argparse
import os
import sys
from pathlib import Path
from statistics import median

from . import figures, loads, results, tables
from .machine import BUSY
from .places import CHARTS, REPORT
from .servers import FLOOR, FLOOR_AGAIN

# Debian's packages for Python are for its own one, which need not be the first in PATH.
SYSTEM_PYTHON = "/usr/bin/python3"


def main(arguments):
    parser = argparse.ArgumentParser(prog="benchmarks/report", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", nargs="?", type=Path, help="of results; without it, the latest of benchmarks/results")
    parser.add_argument("--output", type=Path, default=REPORT, help="the report (benchmarks/RESULTS.md)")
    parser.add_argument("--charts", type=Path, default=CHARTS, help="folder of the charts (benchmarks/charts)")
    parser.add_argument("--no-charts", action="store_true", help="tables only")
    options = parser.parse_args(arguments)
    try:
        path = options.file or results.latest()
        found = results.read(path)
    except results.NoResults as error:
        print(f"benchmarks/report: {error}", file=sys.stderr)
        return 1
    drawn = [] if options.no_charts else draw(lambda charts: charts.draw_all(found, options.charts))
    link = os.path.relpath(options.charts, options.output.parent)
    options.output.write_text(text(found, drawn, link), encoding="utf-8")
    print(f"{options.output} from {path}" + (f", {len(drawn)} charts" if drawn else ""))
    return 0


def draw(draw_with):
    """What draw_with(charts) returns; nothing without matplotlib. May start this program again, by another Python."""
    try:
        from . import charts
    except ImportError:
        if os.path.exists(SYSTEM_PYTHON) and os.path.realpath(sys.executable) != os.path.realpath(SYSTEM_PYTHON):
            os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
        print("No charts: matplotlib is missing; Debian's package: python3-matplotlib", file=sys.stderr)
        return []
    return draw_with(charts)


# MARK: Text


def text(found, drawn, link):
    """The report as Markdown."""
    measurements = found["measurements"]
    parts = [
        "# Results",
        "What accepting a connection and talking on it costs here and elsewhere. [README.md](README.md) says what the "
        "loads are and how to run them.",
        *setting(found),
    ]
    parts += [f"![{title}]({link}/{name})" for name, title in drawn]
    parts += ["## In one table", OVERVIEW_TEXT]
    for title, registers in (("Connections that were accepted", False),
                             ("Connections that were accepted and are ready to read", True)):
        rows = overview(measurements, found["servers"], registers)
        if len(rows) > 1:
            parts += [f"### {title}", markdown(rows)]
    parts += natural_forms(measurements, found["servers"])
    parts += relations(measurements, found["servers"])
    for load in loads.LOADS:
        if any(m["load"] == load.name for m in measurements):
            noise = figures.noise(measurements, load.name, load.ratios[0].name) if load.ratios else None
            parts += [f"## {load.title[0].upper()}{load.title[1:]}", *filter(None, [load.note]),
                      *([f"Noise: {tables.noise_range(noise)}."] if noise else []),
                      markdown(tables.table(measurements, load), figures_after=2 if load.kind == "drain" else 1)]
    parts += ["## Servers", markdown(server_rows(found), figures_after=3)]
    parts += list_of("Skipped", found["skipped"])
    parts += list_of("Left out", found["left_out"])
    failed = figures.failures(measurements)
    parts += list_of("Failed", {f"{m['load']}, {m['server']}, round {m['round']}": m["failure"] for m in failed})
    return "\n\n".join(parts) + "\n"


def origin(found):
    """Lines: which command of which commit, and on which machine."""
    machine = found["machine"]
    virtual = ", virtual" if machine["virtual"] else ""
    return [
        f"- Command: `{found['command']}`, {found['started']}, commit {found['commit']}",
        f"- Machine: {machine['processor']}, {machine['cores']} cores{virtual}, {machine['memory_gib']} GiB, "
        f"{machine['system']}, kernel {machine['kernel']}; load average before: {machine['load_average'][0]:.2f}",
    ]


def setting(found):
    machine = found["machine"]
    noise = noises(found["measurements"])
    lines = [
        *origin(found),
        f"- Clients on core {join(machine['client_cores'])}, servers on core {join(machine['server_cores'])}, "
        f"loopback, {machine['open_files']:,} open files, net.core.somaxconn {machine['somaxconn']:,}",
        f"- Storm and echo count {found['seconds']:g} s in each round. All figures are medians of rounds that go "
        "through all servers in turn; the ratios that were least certain then were measured more often. Ratios are to "
        "the floor right before, in storm and echo for half as long, and of the better half of the rounds of each: what "
        "disturbs a machine makes it slower alone.",
    ]
    if noise:
        worst, load = max((value.most, title) for value, title in noise)
        middle = median(value.middle for value, _ in noise)
        lines.append("- Noise: the floor, measured as one more server in each round, differs from itself by "
                     f"{100 * middle:.1f} % in half of the rounds of a load in the middle, and by {100 * worst:.1f} % in "
                     f"the worst round of all ({load}). Each load has its own in its table.")
    if machine.get("busy", 0) > BUSY:
        lines.append(f"- **Busy**: other programs used {100 * machine['busy']:.0f} % of the processors before.")
    if not found["complete"]:
        lines.append("- **Not complete**: the run ended before all its rounds were.")
    return ["\n".join(lines)]


def noises(measurements):
    """(a Spread of the noise, load) of the first ratio of each load."""
    found = [(figures.noise(measurements, load.name, metric.name), load.title)
             for load in loads.LOADS for metric in load.ratios[:1]]
    return [(value, title) for value, title in found if value]


def join(numbers):
    return " and ".join(map(str, numbers))


OVERVIEW_TEXT = (
    "x is the ratio to the floor, epoll and accept4 alone: of time in drain and storm (less is better), of messages a "
    "second in echo (more is better). Drain: 10,000 connections wait in the kernel's queue and are handed to the "
    "program with their peer's address. Making each ready to read is another system call for each, so servers that do "
    "that when they accept, and those that do it when data is wanted, have a table each: compare within one. Wall "
    "exceeds CPU where accept sleeps. Memory is what an idle connection costs the process, without the kernel's part. A "
    "row that ends in -reg differs from the one without in drain alone."
)

# (head, load, metric, whether as a ratio)
OVERVIEW = (
    ("drain, wall ns", "drain-10000", "wall_ns", False),
    ("x", "drain-10000", "wall_ns", True),
    ("drain, CPU ns", "drain-10000", "cpu_ns", False),
    ("x", "drain-10000", "cpu_ns", True),
    ("storm, CPU ns", "storm", "server_cpu_ns", False),
    ("x", "storm", "server_cpu_ns", True),
    ("echo 64 B: 1, x", "echo-64x1", "rate", True),
    ("64, x", "echo-64x64", "rate", True),
    ("1,000, x", "echo-64x1000", "rate", True),
    ("echo 16 KiB: 64, x", "echo-16384x64", "rate", True),
    ("1,000, x", "echo-16384x1000", "rate", True),
    ("bytes idle", "hold", "bytes", False),
)


def overview(measurements, servers, registers):
    """A row for each server that makes connections ready to read in drain, or does not; the cheapest accept first."""
    rows = []
    for name, server in servers.items():
        if server["registers"] != registers or order(measurements, name) == float("inf"):
            continue
        cells = [f"**{name}**" if server["ours"] else name]
        for _, load, metric, as_ratio in OVERVIEW:
            function = figures.ratio if as_ratio else figures.absolute
            spread = function(measurements, load, name, metric)
            show = "{:.2f}".format if as_ratio else tables.number
            cells.append(show(spread.middle) if spread else "-")
        rows.append((order(measurements, name), cells))
    heads = ["server"] + [column[0] for column in OVERVIEW]
    return [heads] + [cells for _, cells in sorted(rows, key=lambda row: row[0])]


def order(measurements, server):
    spread = figures.ratio(measurements, "drain-10000", server, "wall_ns")
    return spread.middle if spread else float("inf")


# MARK: Natural forms

NATURAL_TEXT = (
    "Ours as a user writes it first (handlers of `readyRead` and `disconnected` with `write(readAll())`; "
    "`while let line = try await socket.readLine()`; `for try await line in socket.lines`) against the fastest form of "
    "the same server, in the same round: of the server's CPU time for a message, and of an idle connection's memory. "
    "Less is better, 1.00 means that the natural form is the fast one."
)

NATURAL_COLUMNS = (
    ("echo 64 B: CPU, 1", "echo-64x1", "server_cpu_ns"),
    ("64", "echo-64x64", "server_cpu_ns"),
    ("1,000", "echo-64x1000", "server_cpu_ns"),
    ("idle, bytes", "hold", "bytes"),
)


def natural_forms(measurements, servers):
    rows = [["server", "against", *(column[0] for column in NATURAL_COLUMNS)]]
    for name, server in servers.items():
        fast = server.get("natural_form_of")
        if not fast:
            continue
        spreads = [figures.ratio(measurements, load, name, metric, base=fast) for _, load, metric in NATURAL_COLUMNS]
        if any(spreads):
            rows.append([f"**{name}**", fast, *(f"{s.middle:.2f} ({s.least:.2f}-{s.most:.2f})" if s else "-"
                                                for s in spreads)])
    return ["## As a user writes it", NATURAL_TEXT, markdown(rows, figures_after=2)] if len(rows) > 1 else []


# MARK: Relations between loads

# (title, explanation, metric, the load, the load it is compared with)
RELATIONS = (
    ("Growth: drain", "Nanoseconds a connection at a larger N against those at N = 1,000: 1.00 is linear.", "wall_ns",
     (("10,000", "drain-10000", "drain-1000"), ("15,000", "drain-15000", "drain-1000"))),
    ("Growth: idle connections",
     "Server CPU a message with 64 active connections among many against 64 alone: 1.00 means that idle ones are free.",
     "server_cpu_ns",
     (("of 1,000", "echo-64x64of1000", "echo-64x64"), ("of 10,000", "echo-64x64of10000", "echo-64x64"))),
    ("A second thread",
     "Drain of 10,000 in a process with a thread that only sleeps against one without. Each growth of the table of "
     "descriptors then waits, inside accept, for all processors.", "wall_ns",
     (("wall", "drain-10000-thread", "drain-10000"),)),
    ("Two loops against one", "Server CPU each, with both loops on the one core that servers have here: what sharing "
     "costs, not what a second core brings.", "server_cpu_ns",
     (("storm", "storm-2-loops", "storm"), ("echo 64 B, 64", "echo-64x64-2-loops", "echo-64x64"))),
)


def relations(measurements, servers):
    parts = []
    for title, explanation, metric, columns in RELATIONS:
        rows = []
        for name in servers:
            cells = [relation(measurements, name, metric, load, base) for _, load, base in columns]
            if any(cells):
                rows.append([name, *(cell or "-" for cell in cells)])
        ours = [name for name, server in servers.items() if server["ours"]]
        # A load for a few servers has the floor only to compare with.
        if any(row[0] not in (FLOOR, FLOOR_AGAIN) for row in rows) or ours and rows:
            parts += [f"## {title}", explanation, markdown([["server", *(column[0] for column in columns)], *rows])]
    return parts


def relation(measurements, server, metric, load, base):
    """Of the same server in two loads, in the same round of each."""
    spread = figures.ratio(measurements, load, server, metric, base=server, base_load=base)
    return f"{spread.middle:.2f} ({spread.least:.2f}-{spread.most:.2f})" if spread else None


# MARK: Forms


def server_rows(found):
    rows = [["server", "what takes the connections", "version"]]
    return rows + [[name, server["about"], server["version"]] for name, server in found["servers"].items()]


def markdown(rows, figures_after=1):
    """A table whose columns are text, then figures."""
    width = max(map(len, rows))
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * figures_after + " ---: |" * (width - figures_after))
    return "\n".join(lines)


def list_of(title, items):
    if not items:
        return []
    return [f"## {title}", "\n".join(f"- {name}: " + " ".join(reason.split()) for name, reason in items.items())]
