# SPDX-License-Identifier: Apache-2.0
"""What scripts/test makes of the output of its steps."""

import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))

from testing import results  # noqa: E402


class ResultTests(unittest.TestCase):
    def read(self, kind, status, text, report=None, **options):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.xml"
            if report:
                path.write_text(report, encoding="utf-8")
            return kind(status, text, path, options)

    def counts(self, result):
        return result.passed, result.failed, dict(result.skipped)

    def test_a_check_is_one_test_and_may_say_what_it_skipped(self):
        result = self.read(results.check, 0, "skipped: the format of C: no clang-format\n")
        self.assertEqual(self.counts(result), (1, 0, {"the format of C: no clang-format": 1}))
        self.assertEqual(self.counts(self.read(results.check, 2, "wrong\n")), (0, 1, {}))

    def test_swift_tests_are_counted_and_a_failure_has_its_command(self):
        report = """<testsuites><testsuite>
            <testcase classname="KitTests.Suite" name="right()"/>
            <testcase classname="KitTests.Suite" name="wrong(_:)"><failure message="x"/><failure message="y"/></testcase>
            <testcase classname="KitTests.Suite" name="left()"><skipped>no IPv6 here</skipped></testcase>
            </testsuite></testsuites>"""
        text = ("◇ Test run started.\n"
                '✘ Test "W" recorded an issue at A.swift:3:5: Expectation failed: 1 == 2\n↳ a comment\n'
                '✔ Test "R" passed after 0.1 seconds.\n')
        result = self.read(results.swift, 1, text, report, package="Examples")
        self.assertEqual(self.counts(result), (1, 1, {"no IPv6 here": 1}))
        self.assertEqual(result.details, text.splitlines()[1:3])
        self.assertEqual(result.alone,
                         ["scripts/own-network swift test --package-path Examples --filter Suite/wrong"])

    def test_a_crash_shows_where_or_else_what_had_not_ended(self):
        text = ('◇ Test "A" started.\n◇ Test "B" started.\n✔ Test "A" passed after 0.1 seconds.\n'
                f"*** Program crashed: Bad pointer ***\n\nThread 1 crashed:\n\n0 in libc.so\n1 at {REPOSITORY}/x.swift:1\n")
        result = self.read(results.swift, 1, text)
        self.assertEqual(self.counts(result), (0, 1, {}))
        self.assertEqual(result.details, ["*** Program crashed: Bad pointer ***", f"1 at {REPOSITORY}/x.swift:1"])
        result = self.read(results.swift, 1, text.partition("***")[0])
        self.assertEqual(result.details[0], 'Did not end: "B"')

    def test_what_a_check_calls_failed_comes_first_wherever_it_stands(self):
        table = [f"row {number}  ok" for number in range(100)]
        result = results.check(1, "\n".join(["TOO MANY: echo, ours: 3 reads, limit 2", *table]), None, ())
        self.assertEqual(result.details[:2], ["TOO MANY: echo, ours: 3 reads, limit 2", "row 40  ok"])

    def test_a_sanitizer_report_is_shown_wherever_it_stands(self):
        race = ("WARNING: ThreadSanitizer: data race (pid=1)\n  Write of size 8 at 0x1\n\n    #0 f x.c:1\n\n"
                "SUMMARY: ThreadSanitizer: data race x.c:1 in f")
        undefined = "x.c:2:3: runtime error: shift exponent 40 is too large"
        leak = ("==7==ERROR: LeakSanitizer: detected memory leaks\n    #0 malloc\n"
                "SUMMARY: AddressSanitizer: 32 byte(s) leaked")
        passed = '✔ Test "A" passed after 0.1 seconds.\n'
        text = f"{passed}=====\n{race}\n=====\n{passed}{undefined}\n{passed}{leak}\n{passed * 100}"
        shown = [line for line in f"{race}\n{undefined}\n{leak}".splitlines() if line]
        self.assertEqual(self.read(results.check, 1, text).details, shown)

    def test_a_program_of_cmocka_has_many_tests(self):
        report = """<testsuite>
            <testcase name="c.one" status="run"><system-out>[==========] Running 5 test(s).
skipped: there is no IPv6 here
[  SKIPPED ] four</system-out></testcase>
            <testcase name="c.two" status="fail"><failure/><system-out>[==========] Running 3 test(s).
[ RUN      ] first
[       OK ] first
[   LINE   ] --- two.c:9: error: Failure!
[  FAILED  ] second</system-out></testcase>
            <testcase name="installed.install" status="run"/>
            </testsuite>"""
        result = self.read(results.ctest, 8, "", report, folder="build/release")
        self.assertEqual(self.counts(result), (4 + 2 + 1, 1, {"there is no IPv6 here": 1}))
        self.assertIn("[   LINE   ] --- two.c:9: error: Failure!", result.details)
        self.assertNotIn("[       OK ] first", result.details)
        self.assertEqual(len(result.alone), 1)

    def test_a_build_that_fails_shows_its_errors(self):
        text = "[1/2] Compiling a\n/x/a.swift:3:1: error: no such thing\n 3 | thing\n[2/2] Compiling b\n"
        for kind in (results.swift, results.ctest):
            result = self.read(kind, 1, text, folder="build")
            self.assertEqual(self.counts(result), (0, 1, {}))
            self.assertIn("/x/a.swift:3:1: error: no such thing", result.details)

    def test_a_warning_about_a_source_of_ours_is_a_failure(self):
        report = '<testsuites><testsuite><testcase classname="K.S" name="right()"/></testsuite></testsuites>'
        ours = f"{REPOSITORY}/Sources/TCPServerKit/a.swift:3:1: warning: variable 'x' was never used"
        others = (f"{REPOSITORY}/.build/checkouts/swift-nio/b.swift:1:1: warning: unused\n"
                  f"{REPOSITORY}/Examples/Service/.build/checkouts/c/d.h:1:1: warning: unused\n"
                  "warning: '--product' cannot be used here")
        result = self.read(results.swift, 0, f"{others}\n{ours}\n 3 | let x = 1\n", report)
        self.assertEqual(self.counts(result), (1, 1, {}))
        self.assertEqual(result.details, [ours, " 3 | let x = 1"])
        self.assertEqual(self.counts(self.read(results.swift, 0, others, report)), (1, 0, {}))

    def test_python_tests_are_counted_and_a_failure_has_its_command(self):
        text = ("test_a (tests.a.A.test_a) ... ok\ntest_b (tests.a.A.test_b) ... FAIL\n"
                "test_c (tests.a.A.test_c) ... skipped 'no strace'\n\n" + "=" * 70 +
                "\nFAIL: test_b (tests.a.A.test_b)\n" + "-" * 70 +
                "\nAssertionError: 1 != 2\n\n" + "-" * 70 + "\nRan 3 tests in 0.1s\n\nFAILED (failures=1, skipped=1)\n")
        result = self.read(results.unittest, 1, text, program="benchmarks/test")
        self.assertEqual(self.counts(result), (1, 1, {"no strace": 1}))
        self.assertIn("AssertionError: 1 != 2", result.details)
        self.assertEqual(result.alone, ["benchmarks/test tests.a.A.test_b"])

    def test_a_status_that_nothing_explains_is_a_failure(self):
        report = '<testsuites><testsuite><testcase classname="K.S" name="right()"/></testsuite></testsuites>'
        self.assertEqual(self.read(results.swift, 1, "", report).failed, 1)
        self.assertEqual(self.read(results.ctest, 8, "", report, folder="build").failed, 1)
        self.assertEqual(self.read(results.unittest, 1, "Ran 1 test in 0.1s\n\nOK\n", program="x").failed, 1)
