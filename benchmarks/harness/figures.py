# SPDX-License-Identifier: Apache-2.0
"""From measurements to what the tables show: medians, extremes, and ratios to the floor that was measured right before,
or else in the same round."""

from dataclasses import dataclass
from statistics import median

from .servers import FLOOR, FLOOR_AGAIN


@dataclass(frozen=True)
class Spread:
    """The middle of some figures, and their extremes."""

    median: float
    least: float
    most: float
    count: int


def spread(values):
    """None for no values."""
    values = list(values)
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def values(measurements, load, server, metric, of="figures"):
    """{round: figure} of what was measured; of="floor": of the floor, right before it."""
    return {m["round"]: m[of][metric] for m in measurements
            if m["load"] == load and m["server"] == server and m.get(of) and metric in m[of]}


def absolute(measurements, load, server, metric):
    return spread(values(measurements, load, server, metric).values())


def ratio(measurements, load, server, metric, base=FLOOR, base_load=None):
    """To the base at nearly the same time: what disturbs one disturbs both."""
    own = values(measurements, load, server, metric)
    others = values(measurements, base_load or load, base, metric)
    if base == FLOOR and base_load is None:
        others |= values(measurements, load, server, metric, of="floor")
    return spread(own[number] / others[number] for number in sorted(own) if others.get(number))


def noise(measurements, load, metric):
    """A Spread over the rounds of how far the floor is from itself: 0.1 is 10 % on either side."""
    own = values(measurements, load, FLOOR_AGAIN, metric)
    others = values(measurements, load, FLOOR, metric) | values(measurements, load, FLOOR_AGAIN, metric, of="floor")
    return spread(abs(own[number] / others[number] - 1) for number in sorted(own) if others.get(number))


def failures(measurements):
    """What failed, in the order it happened."""
    return [m for m in measurements if "failure" in m]
