# SPDX-License-Identifier: Apache-2.0
"""Where things are."""

from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHMARKS.parent
BUILD = REPOSITORY / "build" / "benchmarks"
PROGRAMS = BUILD / "bin"
LOAD_GENERATOR = PROGRAMS / "load-generator"
SLEEPING_THREAD = PROGRAMS / "sleeping-thread.so"
ALLOCATION_COUNTER = PROGRAMS / "allocation-counter.so"
STOPPED_TIMERS = PROGRAMS / "stopped-timers.so"
PROFILES = BUILD / "profiles"
THRESHOLDS = BENCHMARKS / "thresholds.json"
RESULTS = BENCHMARKS / "results"
REPORT = BENCHMARKS / "RESULTS.md"
# In a folder of their own: the report of benchmarks/run is made of the latest file in RESULTS.
LOOPS_RESULTS = RESULTS / "loops"
LOOPS_REPORT = BENCHMARKS / "RESULTS-LOOPS.md"
TLS_RESULTS = RESULTS / "tls"
TLS_REPORT = BENCHMARKS / "RESULTS-TLS.md"
SERVICES_RESULTS = RESULTS / "services"
SERVICES_REPORT = BENCHMARKS / "RESULTS-SERVICES.md"
CHARTS = BENCHMARKS / "charts"
