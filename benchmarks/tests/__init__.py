# SPDX-License-Identifier: Apache-2.0
"""Tests of the harness: that it counts right, and that it notices what is wrong with a server."""

import io
import os
from pathlib import Path

WRONG_SERVER = Path(__file__).resolve().parent / "wrong_server.py"


def cores():
    """Any: nothing here depends on speed."""
    return os.sched_getaffinity(0)


def discarded():
    """A place for progress that is not read."""
    return io.StringIO()
