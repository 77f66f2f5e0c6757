# SPDX-License-Identifier: Apache-2.0
"""Every scenario, in the order of the run."""

from . import (  # noqa: F401
    queue_sharing, resets, breaking, holding, process_limits, children, time_and_signals, slow_peers, proxies, tls_proxies,
    path_proxies, sources, chaos, floods, cable, rolling)
