# SPDX-License-Identifier: Apache-2.0
"""nginx as a server of benchmarks/loops: its stream module greets each connection. Two worker processes are its loops;
one of them is stopped by a signal now and then, as nothing in nginx can be made to hang."""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .building import Builder, NotBuilt
from .processes import Process

GREETING = b"hello, stranger\n"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
# Debian has it where only root looks for programs.
PATHS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


class Nginx(Builder):
    """Nothing to build, but a module that may be missing."""

    def build(self, names, say):
        if not self.program("nginx").exists():
            raise NotBuilt("nginx is not installed")
        if stream_module() is None:
            raise NotBuilt("nginx has no stream module")

    def program(self, name):
        return Path(shutil.which("nginx", path=PATHS) or "/nowhere/nginx")


BUILDER = Nginx()


def _described():
    """What nginx says it was built with."""
    try:
        done = subprocess.run([BUILDER.program("nginx"), "-V"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr


def version():
    match = re.search(r"nginx/(\d+(\.\d+)+)", _described())
    return f"nginx {match[1] if match else 'of unknown version'}"


def stream_module():
    """The line of the configuration that loads it, empty if it is part of the program; None if there is none."""
    said = _described()
    if re.search(r"--with-stream(\s|$)", said):
        return ""
    folder = re.search(r"--modules-path=(\S+)", said)
    module = Path(folder[1] if folder else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    return f"load_module {module};\n" if module.exists() else None


def configuration(port, workers, folder, listens_often):
    user = "user root root;\n" if os.geteuid() == 0 else ""
    reuseport = " reuseport" if listens_often else ""
    return (f"{stream_module() or ''}{user}daemon off;\nmaster_process on;\nworker_processes {workers};\n"
            f"pid {folder}/pid;\nerror_log stderr;\nevents {{ worker_connections 8192; accept_mutex off; }}\n"
            f"stream {{ server {{ listen 127.0.0.1:{port} backlog=65535{reuseport}; tcp_nodelay on;\n"
            f'  return "{GREETING.decode().strip()}\\n"; }} }}\n')


class Stalls:
    """Stops a process for a time in each period, from a thread. However it ends, the process goes on."""

    def __init__(self, process, period, length):
        """Takes a descriptor of the process; that stays its own when the process has ended. Times in milliseconds."""
        self._process = process
        self._running, self._length = (period - length) / 1000, length / 1000
        self._over = threading.Event()
        self.count = 0
        self._thread = threading.Thread(target=self._stall, daemon=True)
        self._thread.start()

    def _stall(self):
        while not self._over.wait(self._running):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGSTOP)
                self.count += 1
            self._over.wait(self._length)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGCONT)

    def end(self):
        self._over.set()
        self._thread.join()


class RunningNginx(Process):
    """nginx with its workers, of which the last hangs now and then where there is a period."""

    def __init__(self, cores, limit, workers, listens_often=False, period=0, length=0):
        self._folder = tempfile.TemporaryDirectory()
        self._workers = {}  # descriptors by their process
        self.stalls = None
        try:
            # It keeps the port while nginx begins to listen: no other program can get it in between.
            with socket.socket() as reserved:
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                reserved.bind(("127.0.0.1", 0))
                self.port = reserved.getsockname()[1]
                path = Path(self._folder.name) / "nginx.conf"
                path.write_text(configuration(self.port, workers, self._folder.name, listens_often), encoding="utf-8")
                command = [BUILDER.program("nginx"), "-p", self._folder.name, "-c", path, "-e", "stderr"]
                super().__init__("nginx", command, cores, prepare=end_with_parent)
                self._find_workers(workers, time.monotonic() + limit)
            if period > 0:
                self.stalls = Stalls(list(self._workers.values())[-1], period, length)
        except BaseException:
            self.__exit__()
            raise

    def _find_workers(self, number, until):
        """Waits until all workers are there and one greets."""
        while len(self._workers) < number or not self._greets():
            if self.has_ended():
                raise self.failed(self._ending())
            if time.monotonic() > until:
                raise self.failed("does not greet")
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
            for child in map(int, children.split()):
                if child not in self._workers:
                    with contextlib.suppress(ProcessLookupError):
                        self._workers[child] = os.pidfd_open(child)
            time.sleep(0.01)

    def _greets(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            return connection.recv(len(GREETING)) == GREETING
        return False

    def workers(self):
        """Their processes."""
        return list(self._workers)

    def end(self, seconds):
        self._end_stalls()
        self.terminate()
        super().end(seconds)

    def _end_stalls(self):
        if self.stalls:
            self.stalls.end()
            self.stalls = None

    def __exit__(self, *_):
        self._end_stalls()
        if hasattr(self, "_child"):
            super().__exit__()
        for worker in self._workers.values():
            # Its master would have ended it, had it not been killed.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            os.close(worker)
        self._workers = {}
        self._folder.cleanup()


def end_with_parent():
    """Other servers end with their standard input, when this program is killed."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
