# SPDX-License-Identifier: Apache-2.0
"""Tables, report and chart of benchmarks/loops, from a file of its results."""

import os

from . import figures, report, results, suite_report, tables
from .figures import spread, values
from .loops_rows import FLOORS, KINDS, MOST, P50, P99, WORK_FLOOR
from .results import NoResults

TITLES = {
    "work": ("Work", "64 connections exchange messages of 64 B, and each message costs the server some arithmetic. "
             "The gain is the rate with two loops over that with one; x floor is that over the gain of "
             f"{WORK_FLOOR} in the same round."),
    "stuck": ("A loop that hangs", "2,000 connections a second, each due at its own time, while one of two loops (or "
              "threads, or processes) hangs for 200 ms of each 400. Times are from when a connection was due until the "
              "first byte from the server; nginx greets without reading. Failed are the connections of all rounds "
              "that got none. Late is how late the load generator itself was, at most."),
    "balance": ("Balance", "How many connections each of two loops has after 1,000 have come, after 500 of them, "
                "chosen at random, have been closed, and after 500 more. Of the rounds, the one in the middle."),
    "idle": ("Idle", "What servers with two loops, threads or processes do without a connection: how often a thread "
             "wakes up, and CPU time."),
}


def print_all(found, write=print):
    for kind, rows in all_tables(found):
        tables.print_table(rows, write, TITLES[kind][0])


# MARK: Tables


def all_tables(found):
    """(kind of load, rows of text) of what was measured."""
    rows = {kind: TABLES[kind](found) for kind in KINDS}
    return [(kind, rows[kind]) for kind in KINDS if len(rows[kind]) > 1]


def measured(found, load):
    """The names of servers that were put under a load, in the order of the table."""
    names = {m["server"] for m in found["measurements"] if m["load"] == load}
    return [name for name in found["servers"] if name in names]


def work_table(found):
    measurements = found["measurements"]
    rows = [["server", "1 loop, a second", "2 loops, a second", "gain", "min-max", "x floor", "min-max"]]
    floor = gains(measurements, WORK_FLOOR)
    for name in measured(found, "work-1"):
        rates = [figures.absolute(measurements, load, name, "rate") for load in ("work-1", "work-2")]
        own = gains(measurements, name)
        if not own:
            rows.append([name, "failed"])
            continue
        over_floor = spread(own[number] / floor[number] for number in own if number in floor)
        rows.append([name, *(tables.number(rate.middle) for rate in rates), *ratio_cells(spread(own.values())),
                     *ratio_cells(over_floor)])
    return rows


def gains(measurements, server):
    """{round: the rate with two loops over that with one}"""
    one, two = (values(measurements, load, server, "rate") for load in ("work-1", "work-2"))
    return {number: two[number] / one[number] for number in sorted(two) if one.get(number)}


def ratio_cells(ratio):
    return [f"{ratio.middle:.2f}", f"{ratio.least:.2f}-{ratio.most:.2f}"] if ratio else ["-", "-"]


def stuck_table(found):
    measurements = found["measurements"]
    rows = [["server", P50.title, P99.title, "min-max", MOST.title, "min-max", "failed", "late, ms"]]
    for name in measured(found, "stuck"):
        p50, p99, most, late = (figures.absolute(measurements, "stuck", name, metric)
                                for metric in (P50.name, P99.name, MOST.name, "begun_late_ns"))
        if p50 is None:
            rows.append([name, "failed"])
            continue
        failed = sum(values(measurements, "stuck", name, "failed").values())
        rows.append([name, milliseconds(p50.middle), milliseconds(p99.middle), reach(p99), milliseconds(most.middle),
                     reach(most), tables.number(failed), milliseconds(late.most)])
    return rows


def milliseconds(nanoseconds):
    return f"{nanoseconds / 1e6:,.2f}"


def reach(found):
    return f"{milliseconds(found.least)}-{milliseconds(found.most)}"


def balance_table(found):
    rows = [["server", "1,000 came", "500 closed", "500 more"]]
    for name in measured(found, "balance"):
        rounds = [m["figures"] for m in found["measurements"]
                  if m["load"] == "balance" and m["server"] == name and m.get("figures")]
        if not rounds:
            rows.append([name, "failed"])
            continue
        middle = sorted(rounds, key=lambda round: max(round["more"]))[len(rounds) // 2]
        rows.append([name, *(" / ".join(map(str, middle[step])) for step in ("opened", "closed", "more"))])
    return rows


def idle_table(found):
    rows = [["server", "wake-ups a second", "CPU, µs a second"]]
    for name in measured(found, "idle"):
        wakes, cpu = (figures.absolute(found["measurements"], "idle", name, metric) for metric in ("wakes", "idle_cpu_ns"))
        rows.append([name, f"{wakes.middle:.1f}", f"{cpu.middle / 1000:,.0f}"] if wakes and cpu else [name, "failed"])
    return rows


TABLES = {"work": work_table, "stuck": stuck_table, "balance": balance_table, "idle": idle_table}


# MARK: Report


def write(path, output, charts):
    """Writes the report of a file of results, and its chart into a folder. Returns what to print."""
    found = results.read(path)
    if "burn_rounds" not in found:
        raise NoResults(f"{path} is of benchmarks/run")
    drawn = report.draw(lambda drawing: drawing.draw_stuck(points(found), charts))
    return suite_report.write(output, text(found, drawn, os.path.relpath(charts, output.parent)), path, drawn)


def points(found):
    """What charts.draw_stuck() draws."""
    rows = []
    for name in measured(found, "stuck"):
        spreads = [spread(value / metric.unit for value in values(found["measurements"], "stuck", name, metric.name)
                          .values()) for metric in (P99, MOST)]
        if all(spreads):
            rows.append((name, found["servers"][name]["ours"], name in FLOORS, *spreads))
    return rows


def text(found, drawn, link):
    """The report as Markdown."""
    opening = ["# Results with two loops",
               "What a second event loop brings, and what one that hangs does to new connections. "
               "[README.md](README.md), \"Several loops\", says what is measured.", setting(found),
               *(f"![{title}]({link}/{name})" for name, title in drawn)]
    sections = [(*TITLES[kind], rows, "") for kind, rows in all_tables(found)]
    return suite_report.text(opening, sections, ["server", "how connections reach loops", "options", "version"], found)


def setting(found):
    return suite_report.setting(
        found, "servers", "All figures but failures are medians of rounds that go through all servers in turn.",
        f"- A message of work is {found['burn_rounds']:,} steps of arithmetic, {found['burn_microseconds']:g} µs in C "
        "here.")
