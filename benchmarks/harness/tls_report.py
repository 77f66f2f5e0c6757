# SPDX-License-Identifier: Apache-2.0
"""Tables and report of benchmarks/tls, from a file of its results."""

from . import figures, results, suite_report, tables
from .results import NoResults
from .tls_rows import FLOOR, LOADS


def print_all(found, write=print):
    for load, rows in all_tables(found):
        tables.print_table(rows, write, load.title + noise_text(found, load))


def all_tables(found):
    """(load, rows of text) of what was measured."""
    measured = {m["load"] for m in found["measurements"]}
    return [(load, table(found, load)) for load in LOADS if load.name in measured]


def noise_text(found, load):
    again = load.ratios and figures.ratio(found["measurements"], load.name, FLOOR + "-again", load.ratios[0].name, FLOOR)
    return f" (noise of {load.ratios[0].title}: {100 * abs(again.middle - 1):.1f} %)" if again else ""


def table(found, load):
    rows = (tables.row_of(found["measurements"], load, name, load.floor, number) for name in found["servers"])
    return [tables.heads(load), *filter(None, rows)]


def number(value):
    """Three digits at least, where there is a fraction."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(path, output):
    """Writes the report of a file of results. Returns what to print."""
    found = results.read(path)
    if found.get("kind") != "tls":
        raise NoResults(f"{path} is not of benchmarks/tls")
    return suite_report.write(output, text(found), path)


def text(found):
    """The report as Markdown."""
    opening = ["# Results of encrypted connections",
               "What TLS costs here and elsewhere, beside epoll and OpenSSL alone. [README.md](README.md), \"Encrypted "
               "connections\", says what is measured.",
               suite_report.setting(found, "servers",
                                    "All figures are medians of rounds that go through all servers in turn, and ratios "
                                    "are to the floor of the same rounds, of the better half of each.")]
    sections = [(load.title[0].upper() + load.title[1:], load.note, rows, noise_sentence(found, load))
                for load, rows in all_tables(found)]
    return suite_report.text(opening, sections, ["server", "what it is", "options", "version"], found)


def noise_sentence(found, load):
    noise = noise_text(found, load).strip(" ()").capitalize()
    return f"{noise}." if noise else ""
