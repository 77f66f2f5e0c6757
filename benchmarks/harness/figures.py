# SPDX-License-Identifier: Apache-2.0
"""From measurements to what the tables show: medians, extremes, and ratios to the floor that was measured right before,
or else in the same round."""

import math
import random
from dataclasses import dataclass
from statistics import mean, median, stdev

from .servers import FLOOR, FLOOR_AGAIN

MORE_IS_BETTER = ("rate",)
RESAMPLES = 100


@dataclass(frozen=True)
class Spread:
    """The middle of some figures, and their extremes."""

    middle: float
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
    """To the base at nearly the same time. What disturbs a machine makes it slower alone, for a round or for some: in the
    middle are the better halves of both, the extremes are those of single rounds."""
    rounds = by_round(measurements, load, server, metric, base, base_load)
    if not rounds:
        return None
    single = [one / other for one, other in rounds]
    middle = ratio_of(rounds, metric)
    return Spread(middle, min(middle, *single), max(middle, *single), len(rounds))


def by_round(measurements, load, server, metric, base=FLOOR, base_load=None):
    """(the server's figure, that of its base) of each round that has both."""
    own = values(measurements, load, server, metric)
    others = values(measurements, base_load or load, base, metric)
    if base == FLOOR and base_load is None:
        others |= values(measurements, load, server, metric, of="floor")
    return [(own[number], others[number]) for number in sorted(own) if others.get(number)]


def ratio_of(rounds, metric):
    mine, theirs = zip(*rounds)
    return better_half(mine, metric) / better_half(theirs, metric)


def better_half(figures, metric):
    """Their mean."""
    return mean(sorted(figures, reverse=metric in MORE_IS_BETTER)[:math.ceil(len(figures) / 2)])


def standard_error(rounds, metric):
    """Of ratio_of(), as a part of it: how far it would be off if other rounds had been measured. For the same rounds
    always the same."""
    chance = random.Random(0)
    return stdev(ratio_of(chance.choices(rounds, k=len(rounds)), metric) for _ in range(RESAMPLES)) / ratio_of(rounds, metric)


def noise(measurements, load, metric):
    """A Spread over the rounds of how far the floor is from itself: 0.1 is 10 % on either side."""
    own = values(measurements, load, FLOOR_AGAIN, metric)
    others = values(measurements, load, FLOOR, metric) | values(measurements, load, FLOOR_AGAIN, metric, of="floor")
    return spread(abs(own[number] / others[number] - 1) for number in sorted(own) if others.get(number))


def failures(measurements):
    """What failed, in the order it happened."""
    return [m for m in measurements if "failure" in m]
