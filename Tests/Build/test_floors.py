# SPDX-License-Identifier: Apache-2.0
"""scripts/check-floors, on a copy of the sources with one thing wrong."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class FloorTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.sources = Path(folder.name) / "Sources"
        shutil.copytree(REPOSITORY / "Sources", self.sources)

    def check(self, **environment):
        return subprocess.run((sys.executable, REPOSITORY / "scripts/check-floors", "--sources", self.sources), text=True,
                              capture_output=True, timeout=300, check=False, env={**os.environ, **environment})

    def test_a_circle_of_c_files(self):
        with (self.sources / "CServerCore/pause.c").open("a", encoding="ascii") as file:
            file.write("bool csc__further(void);\nbool csc__up(void);\nbool csc__up(void) { return csc__further(); }\n")
        with (self.sources / "CServerCore/socket_error.c").open("a", encoding="ascii") as file:
            file.write("bool csc__up(void);\nbool csc__further(void);\nbool csc__further(void) { return csc__up(); }\n")
        # Without Swift's part, which takes seconds.
        done = self.check(PATH="/usr/bin:/bin")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "circle: .*pause.c")

    @unittest.skipUnless(shutil.which("swiftc"), "swiftc is missing")
    def test_a_type_from_above(self):
        path = self.sources / "TCPServerKit/EventBase/Up.swift"
        path.write_text("func up(_ socket: TCPSocket) {}\n", encoding="ascii")
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("EventBase does not compile without the floors above it", done.stderr)
        self.assertRegex(done.stderr, r"Up.swift:1:\d+: error: cannot find type 'TCPSocket'")

    def test_a_file_on_no_floor(self):
        (self.sources / "TCPServerKit/Utils").mkdir()
        (self.sources / "TCPServerKit/Utils/Other.swift").touch()
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("Utils", done.stderr)


if __name__ == "__main__":
    unittest.main()
