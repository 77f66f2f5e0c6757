# SPDX-License-Identifier: Apache-2.0
"""What each of our servers may cost at most, kept in thresholds.json, and whether it costs more."""

import json
import math
import platform
from dataclasses import dataclass
from fractions import Fraction

from .counting import FEW, MANY
from .places import THRESHOLDS
from .servers import pkg_config, program_version

# What --update writes: the others are a matter of design, and written by hand.
MEASURED = {"bytes": Fraction(1), "held": Fraction(1), "instructions": Fraction("1.03")}
# Other compilers and libraries need other numbers of these, and no change is at fault.
OTHER_VERSIONS = Fraction(3, 2)
# A wake-up may come a moment sooner or later, and a table grow now and then. One too many for each batch of
# connections would be ten times this.
STRAY = Fraction(2, MANY - FEW)
STRAY_BYTES = STRAY * 256
TOO_GENEROUS = Fraction("1.1")


@dataclass(frozen=True)
class Row:
    """One number beside its limit."""

    load: str
    server: str
    what: str
    counted: Fraction
    limit: Fraction
    verdict: str
    is_over: bool = False


def read(path=THRESHOLDS):
    return json.loads(path.read_text(encoding="utf-8"))


def write(thresholds, path=THRESHOLDS):
    """In the form that a person edits: a line a server."""
    lines = [f'  "versions": {json.dumps(thresholds["versions"])}']
    for load in (name for name in thresholds if name != "versions"):
        servers = [f'    "{server}": {json.dumps(limits)}' for server, limits in thresholds[load].items()]
        lines.append(f'  "{load}": {{\n' + ",\n".join(servers) + "\n  }")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def versions():
    """What bytes and instructions depend on beside our code."""
    return ", ".join((platform.machine(), program_version("Swift", "swift", "--version")(),
                      program_version("cc", "cc", "--version")(), pkg_config("libevent_core", "libevent")(),
                      " ".join(platform.libc_ver())))


def judge(load, server, counted, limits, same_versions):
    """Rows for what was counted and has a limit, and for what has none: of that there may be nothing."""
    rows = []
    for what in sorted(counted, key=lambda what: _order(what, limits)):
        number, limit = counted[what], Fraction(limits.get(what, 0))
        if what in MEASURED and not same_versions:
            limit *= OTHER_VERSIONS
        allowed = limit + {"bytes": STRAY_BYTES, "held": STRAY_BYTES, "instructions": 0}.get(what, STRAY)
        if number > allowed:
            rows.append(Row(load, server, what, number, limit, "TOO MANY", is_over=True))
        elif what not in limits:
            continue
        elif number > limit:
            rows.append(Row(load, server, what, number, limit, "ok, and one that strayed"))
        elif same_versions and limit > (number + STRAY) * TOO_GENEROUS:
            rows.append(Row(load, server, what, number, limit, "ok, and the limit could be lower"))
        else:
            rows.append(Row(load, server, what, number, limit, "ok"))
    return rows


def _order(what, limits):
    """As the file has them, then what has no limit."""
    known = list(limits)
    return (known.index(what), "") if what in known else (len(known), what)


def updated(limits, counted):
    """The limits with new ones for what is measured; a number that was not counted keeps its limit."""
    new = {what: math.ceil(counted[what] * factor) for what, factor in MEASURED.items() if what in counted}
    return {**limits, **new}


def as_text(number):
    """Shortly: 1, 0.016, 4,629."""
    return f"{float(number):,.3f}".rstrip("0").rstrip(".") if number < 100 else f"{float(number):,.0f}"
