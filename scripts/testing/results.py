# SPDX-License-Identifier: Apache-2.0
"""Reads what a step has printed: how many tests passed, failed and were skipped, and what a person must see of them."""

import re
import shlex
import xml.etree.ElementTree as xml
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MOST_LINES = 60  # of one failed step; all of it is in the log


@dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skipped: Counter = field(default_factory=Counter)  # by reason
    details: list = field(default_factory=list)  # lines about the failures
    alone: list = field(default_factory=list)  # commands that repeat a failure


def lines_about(text, is_wanted, context=0):
    """The lines that are wanted, each once, with so many lines after them."""
    lines = text.splitlines()
    kept, left = [], 0
    for line in lines:
        left = context + 1 if is_wanted(line) else left
        if left > 0 and line.strip() and line not in kept:
            kept.append(line)
        left -= 1
    return kept


def limited(lines):
    if len(lines) <= MOST_LINES:
        return lines
    return lines[:MOST_LINES] + [f"... {len(lines) - MOST_LINES} lines more are in the log"]


def last_lines(text, count=30):
    return text.rstrip().splitlines()[-count:]


def said_failed(text):
    """What a program names as failed, wherever it says so: a table may follow."""
    return [line for line in text.splitlines() if re.search(r"\b(FAILED|TOO MANY)\b", line)]


def said_skipped(text):
    """What a program prints about what it leaves out: a line `skipped: REASON`."""
    return Counter(match.group(1).strip() for match in re.finditer(r"(?m)^[\s\[\]]*skipped: (.+)$", text))


def report(path):
    """The root of an XML report; None where the run did not come to write it."""
    try:
        return xml.parse(path).getroot()
    except (OSError, xml.ParseError):
        return None


def build_errors(text):
    return lines_about(text, lambda line: re.search(r"\b(error|warning): |\berror\b.*:\d+", line), context=4)


def build_warnings(text):
    """Those of the compilers about this repository's own sources."""
    place = rf"{re.escape(str(REPOSITORY))}/(?!(?:.*/)?\.build/)\S+:\d+:\d+: warning: "
    return lines_about(text, lambda line: re.match(place, line), context=4)


# MARK: Kinds of steps. Each is given the step's status, its output, the path of its report and its options.


def check(status, text, _path, _options):
    """One test: the whole step."""
    if status == 0:
        return Result(passed=1, skipped=said_skipped(text))
    details = issues(text) + sanitizer_reports(text) or said_failed(text) + last_lines(text, MOST_LINES)
    return Result(failed=1, skipped=said_skipped(text), details=details)


def swift(status, text, path, options):
    root = report(path)
    if root is None:
        return Result(failed=1, details=crash(text) or build_errors(text) or unfinished(text) + last_lines(text))
    result = Result()
    package = [word for option in ("package", "scratch") if option in options
               for word in (f"--{option}-path", options[option])]
    for case in root.iter("testcase"):
        reason = case.find("skipped")
        if reason is not None:
            result.skipped[reason.text or "for no reason"] += 1
        elif case.find("failure") is not None:
            result.failed += 1
            test = f"{case.get('classname').partition('.')[2]}/{case.get('name').partition('(')[0]}"
            result.alone.append(shlex.join(["scripts/own-network", "swift", "test", *package, "--filter", test]))
        else:
            result.passed += 1
    if status != 0:
        result.failed = result.failed or 1
        result.details = issues(text) + crash(text) or unfinished(text) + last_lines(text)
    if warnings := build_warnings(text):
        result.failed += 1
        result.details += warnings
    return result


def issues(text):
    """What Swift Testing prints about each: a line, and lines with its comments and values."""
    kept, inside = [], False
    for line in text.splitlines():
        if re.match(r"✘ Test .* recorded an issue", line):
            inside = True
        elif not line.startswith("↳"):
            inside = False
        if inside and line not in kept:
            kept.append(line)
    return kept


def crash(text):
    """Where the program ended, as Swift's runtime says it: of the stack, what is in this repository."""
    crashed = [line for line in text.splitlines() if re.match(r"\*\*\* Program crashed|.*: Fatal error: ", line)]
    stack = re.search(r"(?ms)^Thread \d+ .*?crashed:\n(.*?)(?=^Thread |^Registers|\Z)", text)
    frames = re.findall(rf"(?m)^\s*\d+ .*{re.escape(str(REPOSITORY))}.*$", stack.group(1)) if stack else []
    return crashed + [frame.strip() for frame in frames[:12]]


def sanitizer_reports(text):
    """Each as far as its summary; of undefined behaviour the line."""
    reports = re.findall(r"(?ms)^(?:WARNING: ThreadSanitizer|==\d+==ERROR: \w+Sanitizer): .*?^SUMMARY: .*?$"
                         r"|^\S+:\d+:\d+: runtime error: .*?$", text)
    return [line for report in reports for line in report.splitlines() if line.strip()]


def unfinished(text):
    """The tests in which the program ended."""
    started = dict.fromkeys(re.findall(r"(?m)^◇ Test (?!run|case)(.+) started\.$", text))
    for ended in re.findall(r"(?m)^[✔✘] Test (?!run|case)(.+) (?:passed|failed) after ", text):
        started.pop(ended, None)
    return [f"Did not end: {name}" for name in list(started)[:10]]


def ctest(status, text, path, options):
    root = report(path)
    if root is None:
        return Result(failed=1, details=build_errors(text) or last_lines(text, MOST_LINES))
    result = Result()
    for case in root.iter("testcase"):
        output = case.findtext("system-out") or ""
        # A program of cmocka's has many tests.
        facts = sum(int(number) for number in re.findall(r"Running (\d+) test\(s\)", output)) or 1
        if case.find("skipped") is not None:
            skipped = said_skipped(output) or Counter({last_lines(output, 1)[0] if output else case.get("name"): 1})
        else:
            skipped = said_skipped(output)
        result.skipped += skipped
        facts -= min(facts, sum(skipped.values()))
        if case.get("status") in ("fail", "disabled"):
            failed = len(set(re.findall(r"\[  FAILED  \] (\w+)", output))) or 1
            result.failed += failed
            result.passed += max(0, facts - failed)
            result.details += [f"{case.get('name')}:", *failure_of(output)]
            result.alone.append(f"ctest --test-dir {options['folder']} -R '^{re.escape(case.get('name'))}$' "
                                "--output-on-failure")
        else:
            result.passed += facts
    if status != 0 and result.failed == 0:
        result.failed = 1
        result.details = last_lines(text)
    return result


def failure_of(output):
    """Of a program of cmocka's without the tests that passed."""
    lines = [line for line in output.splitlines() if not re.match(r"\[ +(RUN|OK) +\]", line)]
    return lines[-25:]


def unittest(status, text, _path, options):
    ran = re.search(r"(?m)^Ran (\d+) tests? in", text)
    if not ran:
        return Result(failed=1, details=last_lines(text, MOST_LINES))
    result = Result(skipped=Counter(re.findall(r"\.\.\. skipped ['\"](.+)['\"]$", text, re.MULTILINE)))
    blocks = re.findall(r"(?ms)^={10,}\n((?:FAIL|ERROR): .*?)(?=^={10,}\n|^-{10,}\nRan )", text)
    for block in blocks:
        result.details += block.rstrip().splitlines()
        name = re.match(r"\w+: \w+ \(([\w.]+)\)", block)
        if name:
            result.alone.append(f"{options['program']} {name.group(1)}")
    result.failed = len(set(result.alone)) or (1 if status != 0 else 0)
    result.alone = list(dict.fromkeys(result.alone))
    result.passed = max(0, int(ran.group(1)) - result.failed - sum(result.skipped.values()))
    if status != 0 and not blocks:
        result.details = last_lines(text)
    return result
