# SPDX-License-Identifier: Apache-2.0
"""scripts/check-language, on files of each kind."""

import subprocess
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parent.parent.parent / "scripts/check-language"

# By name: a text whose second line alone is a comment with such a word.
SOURCES = {
    "a.swift": 'let text = "nobody // told"\n  /// Whoever reads this.\nlet tell = 1\n',
    "multiline.swift": 'let text = """\n  // nobody\n  """ // told\n',
    "a.c": "int told; /* The\n   server is told. */ char *nobody = \"//anew\";\n",
    "a.h": "int nobody(void);\nint a; // what stands there\n",
    "a.py": "told = 'nobody'\n# A client that is turned away.\n",
    "documented.py": 'def told():\n    """Somebody calls it."""\n    return """anew"""\n',
    "a.sh": "echo nobody\ntrue # told anew\n",
    "shell": "#!/bin/sh\n# tells the time\necho told\n",
    "python": "#!/usr/bin/env python3\nnobody = 1  # for whoever asks\n",
}


class LanguageTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def check(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return subprocess.run([CHECK, self.folder], text=True, capture_output=True, timeout=60, check=False)

    def test_no_name_text_or_heading_holds_such_a_word(self):
        for name, text in {
            "a.swift": '// A comment.\n@Test(\n  "An error is told once"\n)\n',
            "b.swift": '// A comment.\nlet failure = Failure(.operation, "Nobody listens")\n',
            "a.c": "// A comment.\nstatic void the_server_listens_anew(void **state) {}\n",
            "errors.c": '// A comment.\n{CSC_CALL_BIND, EACCES, CSC_ERROR_SOCKET_ACCESS, "Turned away"},\n',
            "a.md": "Plain.\n\n## What becomes of it\n",
        }.items():
            with self.subTest(name):
                done = self.check(name, text)
                self.assertEqual(done.returncode, 1)
                self.assertIn("Names, texts or headings", done.stderr)
                (self.folder / name).unlink()

    def test_each_kind_of_comment_is_read_and_no_code(self):
        for name, text in SOURCES.items():
            with self.subTest(name):
                done = self.check(name, text)
                self.assertEqual(done.returncode, 1)
                line = 3 if name == "multiline.swift" else 2
                found = [each for each in done.stderr.splitlines() if each.startswith(str(self.folder))]
                self.assertEqual(len(found), 1, done.stderr)
                self.assertTrue(found[0].startswith(f"{self.folder / name}:{line}: "), found[0])
                (self.folder / name).unlink()

    def test_one_line_in_two_hundred_may_have_such_a_word(self):
        plain = "// Accepts a connection.\n"
        self.assertEqual(self.check("a.c", plain * 199 + "// nobody\n").returncode, 0)
        self.assertEqual(self.check("a.c", plain * 198 + "// nobody\n").returncode, 1)

    def test_lines_without_a_word_do_not_count(self):
        done = self.check("a.c", "//\n" * 1000 + "// ------\n" * 1000 + "// nobody\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 of 1 comment lines", done.stderr)

    def test_what_builds_leave_is_left_out(self):
        self.check(".build/a.c", "// nobody\n")
        done = self.check("a.c", "// plain\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("0 of 1 comment lines", done.stdout)

    def test_other_files_are_no_sources(self):
        done = self.check("a.md", "<!-- nobody -->\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("There are no comments.", done.stderr)


if __name__ == "__main__":
    unittest.main()
