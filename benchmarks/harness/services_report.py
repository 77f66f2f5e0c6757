# SPDX-License-Identifier: Apache-2.0
"""Tables, report and chart of benchmarks/services, from a file of its results."""

import os

from . import figures, report, results, tables
from .figures import absolute, ratio
from .results import NoResults
from .services_rows import LOADS

TEXT = ("x is the ratio of CPU time to that of the row with 1.00, in the same round: less is better. Compare within one "
        "table. Busy is the part of its core that the program used: below 100 % the clients limit the rate.")


def print_all(found, write=print):
    for load in LOADS:
        rows = table(found, load)
        if len(rows) > 1:
            write("")
            write(load.title)
            write("  " + load.about)
            for row in tables.align(rows):
                write("  " + row)
    write("\n" + TEXT)


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
        rows.append([name, tables.number(cpu.median / load.cpu.unit),
                     f"{tables.number(cpu.least / load.cpu.unit)}-{tables.number(cpu.most / load.cpu.unit)}",
                     *([f"{over.median:.2f}", f"{over.least:.2f}-{over.most:.2f}"] if over else ["", ""]),
                     f"{rate.median / load.rate.unit:,.2f}" if load.kind == "relay" else tables.number(rate.median),
                     tables.number(100 * busy.median)])
        if load.kind == "relay":
            rows[-1].append(f"{stalled.most / 2**20:,.1f}")
    return rows


def write(path, output, charts):
    """Writes the report of a file of results, and its chart into a folder. Returns what to print."""
    found = results.read(path)
    if not found.get("services"):
        raise NoResults(f"{path} is not of benchmarks/services")
    drawn = report.draw(lambda drawing: drawing.draw_services(panels(found), charts))
    output.write_text(text(found, drawn, os.path.relpath(charts, output.parent)), encoding="utf-8")
    return f"{output} from {path}" + (f", {len(drawn)} chart" if drawn else "")


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
    parts = ["# Results of services",
             "What it costs to do something with what comes: to pass it on, or to answer small requests. "
             "[README.md](README.md), \"Services\", says what is measured.", "\n".join(setting(found)), TEXT]
    parts += [f"![{title}]({link}/{name})" for name, title in drawn]
    for load in LOADS:
        rows = table(found, load)
        if len(rows) > 1:
            bold = {name for name, server in found["servers"].items() if server["ours"]}
            rows = [[f"**{row[0]}**" if row[0] in bold else row[0], *row[1:]] for row in rows]
            parts += [f"## {load.title}", load.about, report.markdown(rows)]
    rows = [["program", "how", "version"]]
    rows += [[name, server["about"], server["version"]] for name, server in found["servers"].items()]
    parts += ["## Programs", report.markdown(rows, figures_after=3)]
    parts += report.list_of("Skipped", found["skipped"])
    failed = figures.failures(found["measurements"])
    parts += report.list_of("Failed", {f"{m['load']}, {m['server']}, round {m['round']}": m["failure"]
                                       for m in failed})
    return "\n\n".join(parts) + "\n"


def setting(found):
    machine = found["machine"]
    lines = [
        *report.origin(found),
        f"- Clients on core {report.join(machine['client_cores'])}, programs on core "
        f"{report.join(machine['server_cores'])}, loopback; other programs used {100 * machine['busy']:.0f} % of the "
        "processors before",
        f"- Each load counts {found['seconds']:g} s in each round, of {found['rounds']}. All figures are medians of rounds "
        "that go through all programs in turn.",
    ]
    if not found["complete"]:
        lines.append("- **Not complete**: the run ended before all its rounds were.")
    return lines
