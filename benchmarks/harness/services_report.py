# SPDX-License-Identifier: Apache-2.0
"""Tables, report and chart of benchmarks/services, from a file of its results."""

import os

from . import report, results, suite_report, tables
from .figures import absolute, ratio
from .results import NoResults
from .services_rows import LOADS

TEXT = ("x is the ratio of CPU time to that of the row with 1.00, in the same round: less is better. Compare within one "
        "table. Busy is the part of its core that the program used: below 100 % the clients limit the rate.")


def print_all(found, write=print):
    for load, rows in all_tables(found):
        tables.print_table(rows, write, load.title, "  " + load.about)
    write("\n" + TEXT)


def all_tables(found):
    """(load, rows of text) of what was measured."""
    rows = [(load, table(found, load)) for load in LOADS]
    return [(load, rows) for load, rows in rows if len(rows) > 1]


def table(found, load):
    """Rows of text, the first of them the heads."""
    measurements = found["measurements"]
    rows = [["program", load.cpu.title, "min-max", f"x {load.base}", "min-max", load.rate.title, "busy, %"]]
    if load.kind == "relay":
        rows[0].append("MiB taken for the end that does not read")
    for name in found["servers"]:
        if not any(m["load"] == load.name and m["server"] == name for m in measurements):
            continue
        cpu, rate, busy, stalled = (absolute(measurements, load.name, name, metric)
                                    for metric in ("cpu_ns", "rate", "busy", "stalled_bytes"))
        if cpu is None:
            rows.append([name, "failed"])
            continue
        over = ratio(measurements, load.name, name, "cpu_ns", base=load.base)
        rows.append([name, tables.number(cpu.middle / load.cpu.unit),
                     f"{tables.number(cpu.least / load.cpu.unit)}-{tables.number(cpu.most / load.cpu.unit)}",
                     *([f"{over.middle:.2f}", f"{over.least:.2f}-{over.most:.2f}"] if over else ["", ""]),
                     f"{rate.middle / load.rate.unit:,.2f}" if load.kind == "relay" else tables.number(rate.middle),
                     tables.number(100 * busy.middle)])
        if load.kind == "relay":
            rows[-1].append(f"{stalled.most / 2**20:,.1f}")
    return rows


def write(path, output, charts):
    """Writes the report of a file of results, and its chart into a folder. Returns what to print."""
    found = results.read(path)
    if not found.get("services"):
        raise NoResults(f"{path} is not of benchmarks/services")
    drawn = report.draw(lambda drawing: drawing.draw_services(panels(found), charts))
    return suite_report.write(output, text(found, drawn, os.path.relpath(charts, output.parent)), path, drawn)


def panels(found):
    """What charts.draw_services() draws: (title, rows of name, whether it is ours, whether the base, its ratio)."""
    drawn = []
    for load in LOADS:
        rows = [(name, server["ours"], name == load.base,
                 ratio(found["measurements"], load.name, name, "cpu_ns", base=load.base))
                for name, server in found["servers"].items()]
        rows = [row for row in rows if row[3]]
        if rows:
            drawn.append((f"{load.title}: CPU time, {load.base} = 1", rows))
    return drawn


def text(found, drawn, link):
    """The report as Markdown."""
    opening = ["# Results of services",
               "What it costs to do something with what comes: to pass it on, or to answer small requests. "
               "[README.md](README.md), \"Services\", says what is measured.",
               suite_report.setting(found, "programs",
                                    "All figures are medians of rounds that go through all programs in turn."),
               TEXT, *(f"![{title}]({link}/{name})" for name, title in drawn)]
    sections = [(load.title, load.about, rows, "") for load, rows in all_tables(found)]
    return suite_report.text(opening, sections, ["program", "how", "version"], found)
