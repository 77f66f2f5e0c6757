# SPDX-License-Identifier: Apache-2.0
"""nginx as a server of benchmarks/tls: its stream module greets each connection, in one process."""

import contextlib
import os
import socket
import ssl
import tempfile
import time
from pathlib import Path

from .nginx import BUILDER, stream_module
from .processes import Process

GREETING = b"x" * 16  # what the load generator expects


def configuration(port, folder, certificate, key):
    user = "user root root;\n" if os.geteuid() == 0 else ""
    return (f"{stream_module() or ''}{user}daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/pid;\n"
            f"error_log stderr;\nevents {{ worker_connections 8192; }}\n"
            f"stream {{ server {{ listen 127.0.0.1:{port} ssl backlog=65535; tcp_nodelay on;\n"
            f"  ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n"
            f'  return "{GREETING.decode()}"; }} }}\n')


class RunningTLSNginx(Process):
    """nginx, which has one process and so no workers."""

    def __init__(self, cores, limit, certificate, key):
        self._folder = tempfile.TemporaryDirectory()
        # The network is this program's own, so that no other takes the port in between.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        path = Path(self._folder.name) / "nginx.conf"
        path.write_text(configuration(self.port, self._folder.name, certificate, key), encoding="utf-8")
        try:
            super().__init__("nginx", [BUILDER.program("nginx"), "-p", self._folder.name, "-c", path, "-e", "stderr"], cores)
            self._wait(time.monotonic() + limit)
        except BaseException:
            self.__exit__()
            raise

    def _wait(self, until):
        while not self._greets():
            if self.has_ended():
                raise self.failed(self._ending())
            if time.monotonic() > until:
                raise self.failed("does not greet")
            time.sleep(0.01)

    def _greets(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection, \
                context.wrap_socket(connection) as encrypted:
            return encrypted.recv(len(GREETING)) == GREETING
        return False

    def end(self, seconds):
        self.terminate()
        super().end(seconds)

    def __exit__(self, *_):
        if hasattr(self, "_child"):
            super().__exit__()
        self._folder.cleanup()
