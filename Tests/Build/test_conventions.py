# SPDX-License-Identifier: Apache-2.0
"""What the compiler does not see."""

import re
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class ConventionTests(unittest.TestCase):
    def test_swift_that_the_thread_sanitizer_runs_locks_with_what_it_understands(self):
        """Under Synchronization's Mutex every hand-over looks like a race to it, now and then."""
        for folder in ("Sources", "Tests/TCPServerKitTests"):
            for path in (REPOSITORY / folder).rglob("*.swift"):
                with self.subTest(path=path.relative_to(REPOSITORY)):
                    self.assertIsNone(re.search(r"\bMutex[<(]", path.read_text(encoding="utf-8")), "use Locked")


if __name__ == "__main__":
    unittest.main()
