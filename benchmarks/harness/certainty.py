# SPDX-License-Identifier: Apache-2.0
"""Which server is measured once more when all rounds are over: the one whose ratio to the floor is least certain."""

from . import figures
from .rounds import Step
from .servers import FLOOR

# Two runs with such errors differ by less than 5 % in 95 % of their ratios: 5 % is 1.96 times the root of 2 of it.
GOAL = 0.018


class LeastCertain:
    """Called with all measurements, it returns the next step; None when all ratios are certain."""

    def __init__(self, steps):
        self._steps = {(step.load.name, step.server.name): step for step in steps
                       if step.load.ratios and step.server.name != FLOOR}
        self._errors = {}
        self._last = None

    def __call__(self, measurements):
        changed = [self._last] if self._last else self._steps
        self._errors |= {pair: error(measurements, self._steps[pair].load, pair[1]) for pair in changed}
        self._last = max(self._errors, key=self._errors.get, default=None)
        if not self._last or self._errors[self._last] <= GOAL:
            return None
        step = self._steps[self._last]
        number = 1 + sum((m["load"], m["server"]) == self._last for m in measurements)
        return Step(step.load, step.server, number, number)


def error(measurements, load, server):
    """Of the least certain of its ratios; 0 where more rounds would not help, as with one that failed."""
    own = [m for m in measurements if m["load"] == load.name and m["server"] in (server, FLOOR)]
    if figures.failures(own):
        return 0
    rounds = {metric.name: figures.by_round(own, load.name, server, metric.name) for metric in load.ratios}
    return max((figures.standard_error(found, metric) for metric, found in rounds.items() if found), default=0)
