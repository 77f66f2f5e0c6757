# SPDX-License-Identifier: Apache-2.0
"""scripts/check-commits, on a repository of its own."""

import subprocess
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parent.parent.parent / "scripts/check-commits"


class CommitTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.git("init", "--quiet")

    def git(self, *arguments):
        command = ("git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments)
        return subprocess.run(command, cwd=self.folder, text=True, capture_output=True, check=True).stdout.strip()

    def commit(self, subject):
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")

    def check(self, *arguments):
        return subprocess.run((CHECK, *arguments), cwd=self.folder, text=True, capture_output=True, check=False)

    def test_subjects_after_the_first_have_72_characters_at_most(self):
        first = self.commit("x" * 90)
        self.commit("Core: " + "x" * 66)
        self.assertEqual(self.check(first).returncode, 0)
        self.commit("Core: " + "x" * 67)
        done = self.check(first)
        self.assertEqual(done.returncode, 1)
        self.assertIn("73 characters: Core: x", done.stderr)

    def test_without_the_history_there_is_nothing_to_check(self):
        self.commit("x" * 90)
        self.assertEqual(self.check().returncode, 0)


if __name__ == "__main__":
    unittest.main()
