# SPDX-License-Identifier: Apache-2.0
"""Says what is going on: one line that changes on a terminal, a line now and then elsewhere."""

import shutil
import sys
import time

# Without a terminal, a step that takes longer is mentioned again after so long.
QUIET_SECONDS = 20


class Progress:
    def __init__(self, stream=sys.stderr):
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown = False
        self._last = -QUIET_SECONDS

    def show(self, text):
        """What is going on now; the next text takes its place."""
        if self._terminal:
            self._stream.write(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}")
            self._stream.flush()
            self._shown = True
        elif time.monotonic() - self._last >= QUIET_SECONDS:
            self.say(text)

    def say(self, text):
        """A line that stays."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()
        self._last = time.monotonic()

    def clear(self):
        if self._shown:
            self._stream.write("\r\033[K")
            self._shown = False


def span(seconds):
    """A length of time for a person."""
    seconds = max(0, round(seconds))
    return f"{seconds} s" if seconds < 90 else f"{(seconds + 30) // 60} min"
