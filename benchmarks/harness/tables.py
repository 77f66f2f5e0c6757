# SPDX-License-Identifier: Apache-2.0
"""Tables on the terminal."""

import sys

from . import figures, loads, servers


def print_all(results, write=print):
    """A table a load, in the order of loads.py."""
    measurements = results["measurements"]
    measured = {m["load"] for m in measurements}
    for load in loads.LOADS:
        if load.name in measured:
            note = ["  " + load.note] if load.note else []
            print_table(table(measurements, load), write, load.title + noise_text(measurements, load), *note)


def print_table(rows, write, *heading):
    """Rows of text below the lines of their heading."""
    for line in ("", *heading):
        write(line)
    for row in align(rows):
        write("  " + row)


def noise_text(measurements, load):
    parts = [(metric, figures.noise(measurements, load.name, metric.name)) for metric in load.ratios[:1]]
    return "".join(f"  (noise of {metric.name}: {noise_range(value)})" for metric, value in parts if value)


def noise_range(noise):
    """The spread of the floor against itself, as text."""
    return f"{100 * noise.middle:.1f} % in half of the rounds, {100 * noise.most:.1f} % at most"


# On a quiet machine the floor is nearer to itself than this in half of the rounds.
NOISY = 0.05

LEGEND = """
Figures are medians over the rounds; min-max is their range.
x floor: the ratio to raw-epoll, which is epoll and accept4 alone, measured right before; of the better half of the
  rounds of each. In drain and storm less is better, in echo, which is compared by messages a second, more.
noise: how far raw-epoll-again, the same program a second time in each round, is from raw-epoll.
  A smaller difference between two rows says nothing.
reg: whether a connection is ready to read when it is counted. Compare rows with the same word only.
-written: ours as a user writes it first; the row without that uses the fastest form."""


def noisy(measurements):
    """The titles of loads in which the floor was not like itself."""
    found = [(load, figures.noise(measurements, load.name, metric.name))
             for load in loads.LOADS for metric in load.ratios[:1]]
    return [load.title for load, noise in found if noise and noise.middle > NOISY]


def table(measurements, load):
    """Rows of text, the first of them the heads."""
    rows = [heads(load)]
    if load.kind == "drain":
        rows[0].insert(1, "reg")
    for server in servers.SERVERS:
        row = row_of(measurements, load, server.name)
        if row and load.kind == "drain":
            row.insert(1, "yes" if server.registers else "no")
        if row:
            rows.append(row)
    return rows


def heads(load):
    """Those of the cells of row_of()."""
    titles = ["server"]
    for metric in load.metrics:
        titles.append(metric.title)
        if metric == load.metrics[0]:
            titles.append("min-max")
        if metric in load.ratios:
            titles += ["x floor", "min-max"]
    return titles


def number(value):
    return f"{value:,.0f}"


def row_of(measurements, load, server, floor=servers.FLOOR, show=number):
    """The cells of one server; None if it was not measured."""
    if not any(m["load"] == load.name and m["server"] == server for m in measurements):
        return None
    cells = [server]
    for metric in load.metrics:
        spread = figures.absolute(measurements, load.name, server, metric.name)
        if spread is None:
            return [server, "failed"]
        cells.append(show(spread.middle / metric.unit))
        if metric == load.metrics[0]:
            cells.append(f"{show(spread.least / metric.unit)}-{show(spread.most / metric.unit)}")
        if metric in load.ratios:
            ratio = figures.ratio(measurements, load.name, server, metric.name, floor)
            cells += [f"{ratio.middle:.2f}", f"{ratio.least:.2f}-{ratio.most:.2f}"] if ratio else ["", ""]
    return cells


def print_failures(measurements):
    """Returns the status of the command."""
    failed = figures.failures(measurements)
    for failure in failed:
        print(f"FAILED: {failure['load']}, round {failure['round']}: {failure['failure']}", file=sys.stderr)
    return 1 if failed else 0


def align(rows):
    """Lines of text: the first column to the left, the others to the right."""
    columns = max(map(len, rows))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    return ["  ".join(cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)).rstrip()
            for row in rows]
