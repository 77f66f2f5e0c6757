# SPDX-License-Identifier: Apache-2.0
"""What a reader must know about where the figures come from."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from .places import REPOSITORY


def describe():
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": _system(),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "load_average": list(os.getloadavg()),
    }


# Of all processors: with more in use by others, the figures are of the others, too.
BUSY = 0.05


def busy(seconds=0.5):
    """The share of all processors that is in use, 0 to 1, while this program waits."""
    before = processor_times(Path("/proc/stat").read_text(encoding="ascii"))
    time.sleep(seconds)
    after = processor_times(Path("/proc/stat").read_text(encoding="ascii"))
    return used_share(before, after)


def warn_if_busy(progress):
    """busy(), which the results have, too."""
    used = busy()
    if used > BUSY:
        progress.say(f"The machine is busy: other programs use {100 * used:.0f} % of its processors, which changes the "
                     "figures.")
    return used


def processor_times(text):
    """(used, all) of /proc/stat, in its own unit."""
    # user nice system idle iowait irq softirq steal; what follows is part of the first two.
    times = [int(word) for word in text.splitlines()[0].split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)


def used_share(before, after):
    passed = after[1] - before[1]
    return (after[0] - before[0]) / passed if passed > 0 else 0.0


def commit():
    """The commit, and whether files differ from it."""
    try:
        name = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/RESULTS*.md",
                       ":!benchmarks/charts") != ""
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return name + (" with changes" if changed else "")


def _git(*arguments):
    done = subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def _processor():
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else platform.machine()


def _system():
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
