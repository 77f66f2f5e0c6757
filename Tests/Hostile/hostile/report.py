# SPDX-License-Identifier: Apache-2.0
"""Scenarios, and the figures that they find."""

import functools
import os
import subprocess
import time
import traceback


class Failed(Exception):
    """What is not as it must be, for a person to read."""


class Skipped(Exception):
    """Why a scenario cannot run here."""


class Unreachable(Skipped):
    """What a server of others did not give: not this machine's fault, so in CI it is no failure either."""


scenarios = {}


def scenario(name):
    """Registers a function that takes a Figures."""
    def register(function):
        scenarios[name] = function
        return function
    return register


def long_only(function):
    """A scenario that the quick form leaves out, as others cover it."""
    function.long_only = True
    return function


class Figures:
    """Collects a scenario's figures; one out of its bounds fails the scenario, when the others have been taken too."""

    def __init__(self, name, is_long, programs):
        self.name = name
        self.is_long = is_long
        self.programs = programs
        self.rows = []
        self.wrong = []

    def many(self, quick, long):
        """How many of something, in the form that runs."""
        return long if self.is_long else quick

    def add(self, what, value, unit="", exactly=None, at_most=None, at_least=None):
        bounds = []
        good = True
        for sign, limit, holds in (("=", exactly, lambda: value == exactly), (">=", at_least, lambda: value >= at_least),
                                   ("<=", at_most, lambda: value <= at_most)):
            if limit is not None:
                bounds.append(f"{sign} {limit}")
                good = good and holds()
        bound = ", ".join(bounds)
        text = f"{value:,.2f}" if isinstance(value, float) else str(value)
        self.rows.append((self.name, what, f"{text} {unit}".strip(), bound + ("" if good else "  WRONG")))
        if not good:
            self.wrong.append(f"{what} is {text} {unit}, not {bound}")

    def check(self, what, good):
        """Without a row of its own."""
        if not good:
            self.wrong.append(what)

    def finish(self):
        if self.wrong:
            raise Failed("; ".join(self.wrong))


def run_scenario(name, is_long, programs):
    """Its rows, and whether it failed; None when it was skipped."""
    figures = Figures(name, is_long, programs)
    start = time.monotonic()
    failed = False
    try:
        scenarios[name](figures)
        figures.finish()
        verdict = "ok"
    except Skipped as reason:
        verdict, failed = f"SKIPPED: {reason}", "CI" in os.environ and not isinstance(reason, Unreachable)
    except (Failed, OSError, subprocess.SubprocessError) as reason:
        verdict, failed = f"FAILED: {reason}", True
        if not isinstance(reason, Failed):
            verdict += "\n" + traceback.format_exc()
    print(f"{name:24} {time.monotonic() - start:6.1f} s  {verdict}", flush=True)
    return figures.rows, failed


def percentile(values, share):
    """The value that so many of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(rows):
    """In columns, a row a line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def needs(*commands):
    """A scenario that works through other programs."""
    from .network import has

    def wrap(function):
        @functools.wraps(function)
        def wrapped(figures):
            missing = [command for command in commands if not has(command)]
            if missing:
                raise Skipped(f"there is no {', no '.join(missing)} here (scripts/install-dependencies ci)")
            function(figures)
        return wrapped
    return wrap
