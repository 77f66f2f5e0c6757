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
CHARTS = BENCHMARKS / "charts"
