# SPDX-License-Identifier: Apache-2.0
"""Python packages of others, in a folder of the build."""

import subprocess
import sys

from hostile.report import Unreachable

# Pinned: what they find and how they say it must not change with the day of the run.
NEEDED = {"tlslite": "tlslite-ng==0.8.2", "sslyze": "sslyze==6.3.1"}


def install(folder, names):
    """Installs what is missing; where that is impossible, needs() says so later."""
    for name in names:
        target = folder / NEEDED[name]
        if not (target / name).is_dir():
            try:
                subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                                "--no-warn-conflicts", "--root-user-action=ignore", "--retries", "1",
                                "--target", str(target), NEEDED[name]], check=False, timeout=120)
            except subprocess.TimeoutExpired:
                print(f"pip took too long to install {NEEDED[name]}", file=sys.stderr)


def needs(programs, name):
    """Makes the package importable, and returns its folder."""
    folder = programs.packages / NEEDED[name]
    if not (folder / name).is_dir():
        raise Unreachable(f"pip could not install {NEEDED[name]}")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return folder
