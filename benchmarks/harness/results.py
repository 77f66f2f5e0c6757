# SPDX-License-Identifier: Apache-2.0
"""The file that a run leaves behind, from which the tables and the report are made."""

import json

from .places import RESULTS

FORMAT = 1


class NoResults(Exception):
    """Why there is nothing to report."""


def write(results, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"format": FORMAT, **results}, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def read(path):
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoResults(f"{path}: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise NoResults(f"{path} is not a file of results that this version can read")
    return results


def latest():
    files = sorted(RESULTS.glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise NoResults("there are no results yet; `make bench` makes some")
    return files[-1]
