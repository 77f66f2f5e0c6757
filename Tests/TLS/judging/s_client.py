# SPDX-License-Identifier: Apache-2.0
"""`openssl s_client` as a client of the judged server."""

import re
import select
import subprocess
import time

SECONDS = 20


class Client:
    """Asks what the server has agreed to. Ends when it is closed, or was refused."""

    def __init__(self, server, folder, version, name=None, protocols=None, certificate=None, session_in=None,
                 session_out=None):
        words = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", f"-tls1_{version}", "-CAfile",
                 folder / "authority.pem", "-verify_return_error"]
        words += ["-servername", name] if name else ["-noservername"]
        words += ["-alpn", protocols] if protocols else []
        if certificate:
            words += ["-cert", folder / f"{certificate}.pem", "-cert_chain", folder / f"{certificate}.pem", "-key",
                      folder / f"{certificate}.pem"]
        words += ["-sess_out", session_out] if session_out else []
        words += ["-sess_in", session_in] if session_in else []
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, bufsize=0)
        self.output = b""
        self._ask()

    def _ask(self):
        try:
            self.process.stdin.write(b"?\n")
        except BrokenPipeError:
            pass
        deadline = time.monotonic() + SECONDS
        while not re.search(rb"^loop=.*\n", self.output, re.MULTILINE):
            if not select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                self.output += b"\nno answer in time"
                break
            more = self.process.stdout.read(65536)
            if not more:
                break
            self.output += more

    @property
    def agreed(self):
        """What the server said, by name; empty where it refused."""
        found = re.search(r"^loop=.*$", self.text, re.MULTILINE)
        return dict(part.split("=", 1) for part in found.group().split()) if found else {}

    @property
    def alert(self):
        """The alert that the server sent, or None."""
        found = re.search(r"SSL alert number (\d+)", self.text)
        return int(found.group(1)) if found else None

    @property
    def shown(self):
        """The common name of the server's certificate."""
        found = re.search(r"^subject=CN\s*=\s*(\S+)", self.text, re.MULTILINE)
        return found.group(1) if found else None

    @property
    def text(self):
        return self.output.decode(errors="replace")

    def close(self):
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
