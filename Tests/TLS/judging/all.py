# SPDX-License-Identifier: Apache-2.0
"""Every scenario, in the order of the run."""

from . import clients, exits, qt, matrix, malformed, restarts, scanners, silent  # noqa: F401
