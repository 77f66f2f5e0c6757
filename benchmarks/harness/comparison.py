# SPDX-License-Identifier: Apache-2.0
"""benchmarks/compare: whether two runs say the same. Of the same commit they should."""

import argparse
import sys
from pathlib import Path

from . import figures, loads, results, tables


def main(arguments):
    parser = argparse.ArgumentParser(prog="benchmarks/compare", description=__doc__, allow_abbrev=False)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--limit", type=float, default=5, metavar="PERCENT",
                        help="show ratios that differ by more, and end with 1 if there are any (5)")
    options = parser.parse_args(arguments)
    try:
        compared = compare(results.read(options.first), results.read(options.second))
    except results.NoResults as error:
        print(f"benchmarks/compare: {error}", file=sys.stderr)
        return 2
    apart = [row for row in compared if abs(row[-1]) > options.limit]
    rows = [["load", "server", "ratio of", "first", "second", "difference"]]
    rows += [[load, server, metric, f"{one:.3f}", f"{other:.3f}", f"{percent:+.1f} %"]
             for load, server, metric, one, other, percent in sorted(apart, key=lambda row: -abs(row[-1]))]
    if apart:
        print("\n".join(tables.align(rows)))
    print(f"{len(compared)} ratios compared, {len(apart)} differ by more than {options.limit:g} %")
    return 1 if apart or not compared else 0


def compare(first, second):
    """(load, server, metric, ratio in the first, in the second, difference in percent) of everything that both have."""
    compared = []
    for load in loads.LOADS:
        for metric in load.ratios:
            for server in first["servers"]:
                one, other = (figures.ratio(found["measurements"], load.name, server, metric.name)
                              for found in (first, second))
                if one and other:
                    percent = 100 * (other.middle / one.middle - 1)
                    compared.append((load.name, server, metric.name, one.middle, other.middle, percent))
    return compared
