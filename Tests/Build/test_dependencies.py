# SPDX-License-Identifier: Apache-2.0
"""scripts/install-dependencies where it cannot install."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class DependencyTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.programs = Path(folder.name)

    def program(self, name, text):
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        path.chmod(0o755)

    def only_what_is_here_without(self, *names):
        """All programs but those, in a PATH of one folder."""
        for folder in os.environ["PATH"].split(":") + ["/usr/sbin"]:
            for path in Path(folder).glob("*"):
                link = self.programs / path.name
                if path.name not in names and not link.is_symlink() and not link.exists():
                    link.symlink_to(path)
        return str(self.programs)

    def install(self, what, path, **environment):
        clean = {name: value for name, value in os.environ.items() if name != "CI"}
        return subprocess.run([REPOSITORY / "scripts/install-dependencies", what], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=60, check=False,
                              env={**clean, "PATH": path, **environment})

    def assert_names_libevent(self, done):
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "Debian, Ubuntu: +sudo apt-get install libevent-dev\n")
        self.assertRegex(done.stderr, "Fedora: +sudo dnf install libevent-devel\n")

    def test_an_apt_get_that_fails_is_followed_by_what_is_missing_and_the_commands_that_install_it(self):
        self.program("apt-get", "exit 100")
        self.program("sudo", 'test "$1" != -n || shift; exec "$@"')
        done = self.install("run", f"{self.programs}:{os.environ['PATH']}", PKG_CONFIG_LIBDIR="/nowhere")
        self.assert_names_libevent(done)
        self.assertIn("apt-get could not install what is missing: libevent-dev", done.stderr)

    def test_without_apt_get_the_commands_of_other_systems_are_named(self):
        path = self.only_what_is_here_without("apt-get")
        done = self.install("run", path, PKG_CONFIG_LIBDIR="/nowhere")
        self.assert_names_libevent(done)
        self.assertIn("there is no apt-get here", done.stderr)

    def test_programs_without_which_tests_are_skipped_are_needed_in_ci_alone(self):
        path = self.only_what_is_here_without("apt-get", "microsocks", "clang-format-19", "clang-format")
        done = self.install("test", path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("Without these some tests are skipped: microsocks clang-format-19", done.stdout)
        done = self.install("test", path, CI="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("microsocks", done.stderr)

    def test_where_all_is_there_it_says_nothing(self):
        done = self.install("run", os.environ["PATH"])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
