# SPDX-License-Identifier: Apache-2.0
"""Tables and report of benchmarks/tls, from a file of its results."""

from . import figures, report, results, tables
from .results import NoResults
from .tls_rows import FLOOR, LOADS


def print_all(found, write=print):
    for load, rows in all_tables(found):
        write("")
        write(load.title + noise_text(found, load))
        for row in tables.align(rows):
            write("  " + row)


def all_tables(found):
    """(load, rows of text) of what was measured."""
    measured = {m["load"] for m in found["measurements"]}
    return [(load, table(found, load)) for load in LOADS if load.name in measured]


def noise_text(found, load):
    again = load.ratios and figures.ratio(found["measurements"], load.name, FLOOR + "-again", load.ratios[0].name, FLOOR)
    return f" (noise of {load.ratios[0].title}: {100 * abs(again.median - 1):.1f} %)" if again else ""


def table(found, load):
    heads = ["server"]
    for metric in load.metrics:
        heads.append(metric.title)
        if metric == load.metrics[0]:
            heads.append("min-max")
        if metric in load.ratios:
            heads += ["x floor", "min-max"]
    rows = [heads]
    names = {m["server"] for m in found["measurements"] if m["load"] == load.name}
    return rows + [row_of(found["measurements"], load, name) for name in found["servers"] if name in names]


def row_of(measurements, load, server):
    cells = [server]
    for metric in load.metrics:
        spread = figures.absolute(measurements, load.name, server, metric.name)
        if spread is None:
            return [server, "failed"]
        cells.append(number(spread.median / metric.unit))
        if metric == load.metrics[0]:
            cells.append(f"{number(spread.least / metric.unit)}-{number(spread.most / metric.unit)}")
        if metric in load.ratios:
            ratio = figures.ratio(measurements, load.name, server, metric.name, load.floor)
            cells += [f"{ratio.median:.2f}", f"{ratio.least:.2f}-{ratio.most:.2f}"] if ratio else ["", ""]
    return cells


def number(value):
    """Three digits at least, where there is a fraction."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(path, output):
    """Writes the report of a file of results. Returns what to print."""
    found = results.read(path)
    if found.get("kind") != "tls":
        raise NoResults(f"{path} is not of benchmarks/tls")
    output.write_text(text(found), encoding="utf-8")
    return f"{output} from {path}"


def text(found):
    """The report as Markdown."""
    parts = ["# Results of encrypted connections",
             "What TLS costs here and elsewhere, beside epoll and OpenSSL alone. [README.md](README.md), \"Encrypted "
             "connections\", says what is measured.", "\n".join(setting(found))]
    bold = {name for name, server in found["servers"].items() if server["ours"]}
    for load, rows in all_tables(found):
        rows = [[f"**{row[0]}**" if row[0] in bold else row[0], *row[1:]] for row in rows]
        parts.append(f"## {load.title[0].upper()}{load.title[1:]}")
        parts += [load.note] if load.note else []
        parts.append(report.markdown(rows))
        parts += [noise_text(found, load).strip(" ()").capitalize() + "."] if noise_text(found, load) else []
    parts += ["## Servers", report.markdown(server_rows(found), figures_after=4)]
    parts += report.list_of("Skipped", found["skipped"])
    parts += report.list_of("Failed", {f"{m['load']}, {m['server']}, round {m['round']}": m["failure"]
                                       for m in figures.failures(found["measurements"])})
    return "\n\n".join(parts) + "\n"


def setting(found):
    machine = found["machine"]
    lines = [
        *report.origin(found),
        f"- Clients on core {report.join(machine['client_cores'])}, servers on core "
        f"{report.join(machine['server_cores'])}, loopback; other programs used {100 * machine['busy']:.0f} % of the "
        "processors before",
        f"- Each load counts {found['seconds']:g} s in each round, of {found['rounds']}. All figures are medians of rounds "
        "that go through all servers in turn, and ratios are to the floor of the same round.",
    ]
    if not found["complete"]:
        lines.append("- **Not complete**: the run ended before all its rounds were.")
    return lines


def server_rows(found):
    rows = [["server", "what it is", "options", "version"]]
    return rows + [[name, server["about"], f"`{server['options']}`" if server["options"] else "", server["version"]]
                   for name, server in found["servers"].items()]
