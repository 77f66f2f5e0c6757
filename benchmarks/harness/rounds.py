# SPDX-License-Identifier: Apache-2.0
"""Rounds: each goes once through all servers, A B C, A B C, so that what disturbs the machine for a while disturbs all
of them; the floor is in each. After them come more measurements, one by one, where they are asked for."""

import time
from dataclasses import dataclass, replace

from . import measuring, results
from .processes import Failed
from .progress import span
from .servers import FLOOR, FLOOR_AGAIN


TIMED = ("storm", "echo", "work", "stuck")  # loads that take as long as the setting says


@dataclass(frozen=True)
class Step:
    load: object
    server: object
    round: int
    rounds: int


def schedule(loads, servers, rounds_of):
    """All steps: first round of every load, then the second, so that an early end leaves whole rounds."""
    steps = []
    floors = (FLOOR, FLOOR_AGAIN)
    # A load for servers that are not here would measure the floor alone.
    loads = [load for load in loads
             if not load.arguments or any(takes(server, load) for server in servers if server.name not in floors)]
    for number in range(1, max(map(rounds_of, loads), default=0) + 1):
        for load in loads:
            if number <= rounds_of(load):
                steps += [Step(load, server, number, rounds_of(load)) for server in servers if takes(server, load)]
    return steps


def takes(server, load):
    """Whether this load is for this server; the floor is in every load."""
    if server.loads and load.kind not in server.loads and load.name not in server.loads:
        return False
    return not load.arguments or server.loops or server.name in (FLOOR, FLOOR_AGAIN)


class Rounds:
    """Runs steps and keeps what they measure."""

    def __init__(self, steps, setting, progress, limit_seconds, measured=lambda measurement: None,
                 measure=measuring.measure, floor=None, more=lambda measurements: None):
        """With a floor, each server is measured right after it: a machine is not the same for a round. more(measurements)
        is asked for another step after the last, until it returns None."""
        self._measure_one = measure
        self._floor = floor
        self._more = more
        self._steps = steps
        self._setting = setting
        self._progress = progress
        self._limit = limit_seconds
        self._measured = measured
        self._durations = {}
        self.measurements = []
        self.stopped_early = False

    def run(self):
        started = time.monotonic()
        broken = set()
        begun_round = None
        for index, step in enumerate(self._steps):
            left = self._time_for(self._steps[index:], broken)
            whole_round = (step.load, step.round)
            if whole_round != begun_round:
                begun_round = whole_round
                same = [s for s in self._steps[index:] if (s.load, s.round) == whole_round]
                if step.round > 1 and time.monotonic() - started + self._time_for(same, broken) > self._limit:
                    self.stopped_early = True
                    return
            if (step.load.name, step.server.name) in broken:
                continue
            percent = 100 * index // len(self._steps)
            self._progress.show(f"[{percent:3}%] {step.load.title}, round {step.round} of {step.rounds}: "
                                f"{step.server.name}; about {span(min(left, self._limit))} left")
            if not self._measure(step):
                # It would only fail again, and take its time about it.
                broken.add((step.load.name, step.server.name))
        self._run_more(started)

    def _run_more(self, started):
        while step := self._more(self.measurements):
            left = self._limit - (time.monotonic() - started)
            if left < self._expected(step.load):
                return
            self._progress.show(f"[100%] {step.load.title}, once more: {step.server.name}; {span(left)} left at most")
            self._measure(step)

    def run_and_keep(self, found, path):
        """run(), whose measurements complete the results, which are in a file then, even after an interruption."""
        try:
            self.run()
            found["complete"] = not self.stopped_early
        except KeyboardInterrupt:
            if self.measurements:
                self._progress.say(f"what was measured until now is kept in {path}")
            raise
        finally:
            found["measurements"] = self.measurements
            if self.measurements:
                results.write(found, path)
        self._progress.clear()

    def _measure(self, step):
        started = time.monotonic()
        measurement = {"load": step.load.name, "server": step.server.name, "round": step.round}
        try:
            if self._floor and step.load.ratios and step.server != self._floor:
                shorter = replace(self._setting, seconds=self._setting.seconds / 2)
                measurement["floor"] = self._measure_one(self._floor, step.load, shorter)
            measurement["figures"] = self._measure_one(step.server, step.load, self._setting)
        except Failed as error:
            measurement["failure"] = str(error)
            self._progress.say(f"FAILED: {step.load.title}: {error}")
        self._durations.setdefault(step.load.name, []).append(time.monotonic() - started)
        self.measurements.append(measurement)
        self._measured(measurement)
        return "figures" in measurement

    def _time_for(self, steps, broken):
        return sum(self._expected(step.load) for step in steps
                   if (step.load.name, step.server.name) not in broken)

    def _expected(self, load):
        known = self._durations.get(load.name)
        if known:
            return sum(known) / len(known)
        return 1 + (self._setting.seconds + self._setting.warm_up if load.kind in TIMED else 0)
