# SPDX-License-Identifier: Apache-2.0
"""Tests of the harness: that it counts right, and that it notices what is wrong with a server."""

import contextlib
import io
import os
from pathlib import Path

WRONG_SERVER = Path(__file__).resolve().parent / "wrong_server.py"


def cores():
    """Any: nothing here depends on speed."""
    return os.sched_getaffinity(0)


def refusal(parse, arguments):
    """What is said about options that parse() refuses."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        parse(arguments)
        raise AssertionError(f"{arguments} were not refused")
    return said.getvalue()


def discarded():
    """A place for progress that is not read."""
    return io.StringIO()
