# SPDX-License-Identifier: Apache-2.0
"""A real systemd as process 1 of namespaces of its own, with the units of the articles and EchoServer as their program."""

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

REPOSITORY = Path(__file__).resolve().parent.parent.parent
ARTICLES = REPOSITORY / "Sources/TCPServerKit/TCPServerKit.docc"
SYSTEMD = Path("/lib/systemd/systemd")
# The second version of control groups: alone, or beside the first one as in some containers.
HIERARCHIES = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")
LIMIT = 60
PR_SET_PDEATHSIG = 1
PORT = 4243
PROGRAM = "/run/app/EchoServer"

# Its own /proc and /run, and of the control groups those of its namespace alone. The program is where a user that is made
# for it can see it.
START = """
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/lock /run/app
cp "$2" /run/app/EchoServer
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=test SYSTEMD_UNIT_PATH="$0"
exec "$1" --system --log-target=null --unit=default.target
"""

# What units need by default, without which there is nothing to do here.
TARGETS = ("default", "sysinit", "basic", "shutdown", "sockets", "multi-user", "network")


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Failed(what)


def until(condition, what, seconds=LIMIT):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{what} did not come within {seconds} s")
        time.sleep(0.02)


def why_not():
    """Why it cannot run here; None where it can."""
    if not SYSTEMD.exists() or not shutil.which("systemctl"):
        return "there is no systemd"
    if not any((folder / "cgroup.controllers").exists() for folder in HIERARCHIES):
        return "there are no control groups of version 2"
    return None


def block_of(article, beginning):
    """The code block of an article that begins so."""
    text = (ARTICLES / article).read_text(encoding="utf-8")
    for block in re.findall(r"^```[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if block.startswith(beginning):
            return block
    raise Failed(f"{article} has no unit that begins with {beginning!r}")


def changed(unit, **settings):
    """A unit with other values; one that it does not have is added to its service."""
    for name, value in settings.items():
        unit, count = re.subn(rf"^{name}=.*$", f"{name}={value}", unit, flags=re.MULTILINE)
        if not count:
            unit = unit.replace("[Service]\n", f"[Service]\n{name}={value}\n", 1)
    return unit


def own_group():
    """The folder of this process's control group."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        if line.startswith("0::"):
            return next(folder for folder in HIERARCHIES if (folder / "cgroup.controllers").exists()) / line[4:]
    raise Failed("this process has no control group")


def is_removed(group):
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            return False
    return True


class Systemd:
    """Runs with the units that it is given, by name, until it is left."""

    def __init__(self, program, units):
        self.program = program
        self.folder = tempfile.TemporaryDirectory(prefix="deploying-systemd-")
        os.chmod(self.folder.name, 0o755)
        self.group = own_group() / Path(self.folder.name).name
        targets = {f"{name}.target": "[Unit]\nDefaultDependencies=no\n" for name in TARGETS}
        for name, text in {**targets, **units}.items():
            (Path(self.folder.name) / name).write_text(text, encoding="utf-8")

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        self.group.mkdir()
        self.outside = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup", "sh", "-ec", START,
             self.folder.name, SYSTEMD, self.program], preexec_fn=self._enter_group,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.limit = threading.Timer(2 * LIMIT, self.outside.kill)
        self.limit.start()
        children = Path(f"/proc/{self.outside.pid}/task/{self.outside.pid}/children")
        until(lambda: children.read_text().split(), "process 1")
        self.process = int(children.read_text().split()[0])
        until(lambda: self.control("is-system-running", must=False).strip() in ("running", "degraded"), "systemd")

    def _enter_group(self):
        # All of it ends with the test, also by force.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        (self.group / "cgroup.procs").write_text("0")

    def __exit__(self, *_):
        if hasattr(self, "outside"):
            self.limit.cancel()
            # The end of process 1 is the end of all in its namespace.
            self.outside.kill()
            self.outside.wait()
        until(lambda: is_removed(self.group), "the end of its control groups", 10)
        self.folder.cleanup()

    def control(self, *words, must=True):
        result = subprocess.run(["nsenter", "-t", str(self.process), "-p", "-m", "-u", "-i", "-C", "systemctl", "--no-pager",
                                 *map(str, words)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
        if must and result.returncode != 0:
            raise Failed(f"systemctl {' '.join(map(str, words))}: {result.stdout}")
        return result.stdout

    def change(self, unit, **settings):
        """Of a unit in its file; it holds from the unit's next start."""
        path = Path(self.folder.name) / unit
        path.write_text(changed(path.read_text(encoding="utf-8"), **settings), encoding="utf-8")
        self.control("daemon-reload")

    def show(self, unit, name):
        return self.control("show", unit, "--property", name, "--value").strip()


class Clients:
    """Connects again and again, and keeps what has failed."""

    def __init__(self):
        self.count = 0
        self.failures = []
        self._ends = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends = True
        self._thread.join()

    def _run(self):
        while not self._ends:
            self.count += 1
            try:
                echo()
            except (OSError, Failed) as failure:
                self.failures.append(repr(failure))
            time.sleep(0.005)


def connect():
    return socket.create_connection(("127.0.0.1", PORT), timeout=LIMIT)


def exchange(client):
    client.sendall(b"hello")
    received = client.recv(5, socket.MSG_WAITALL)
    check(received == b"hello", f"the client got {received}")


def echo():
    with connect() as client:
        exchange(client)


def judge(clients):
    check(clients.count > 0 and not clients.failures, f"of {clients.count} clients {len(clients.failures)} failed, "
                                                      f"{clients.failures[:3]}")


def check_end(systemd):
    """One that has ended in order is forgotten, with all values but this."""
    result = systemd.show("greeter.service", "Result")
    check(result == "success", f"it did not end in order, but by {result}")


def serves_by_socket(program):
    """The units of "Running under systemd": started by the first client, restarted without one refused, watched."""
    units = {
        "greeter.socket": block_of("RunningUnderSystemd.md", "[Socket]").replace("=4242", f"={PORT}").replace("=greeter", "=echo"),
        "greeter.service": changed(block_of("RunningUnderSystemd.md", "[Unit]"), ExecStart=PROGRAM, WatchdogSec="30",
                                   TimeoutAbortSec="1"),
    }
    with Systemd(program, units) as systemd:
        systemd.control("start", "greeter.socket")
        check(systemd.show("greeter.service", "ActiveState") == "inactive", "the service was started without a client")
        echo()
        check(systemd.show("greeter.service", "ActiveState") == "active", "the service does not run")
        with Clients() as clients:
            before = systemd.show("greeter.service", "MainPID")
            for _ in range(3):
                systemd.control("restart", "greeter.service")
            check(systemd.show("greeter.service", "MainPID") != before, "the service was not restarted")
        judge(clients)
        check(systemd.show("greeter.service", "NRestarts") == "0", "it was restarted by itself")
        # The short time is for a process that hangs, and not for a machine that is busy.
        systemd.change("greeter.service", WatchdogSec="1")
        systemd.control("restart", "greeter.service")
        hangs(systemd)
        systemd.control("stop", "greeter.service", "greeter.socket")
        check_end(systemd)


def hangs(systemd):
    """A process that answers no more sends systemd no messages, and systemd starts another."""
    main, before = (systemd.show("greeter.service", name) for name in ("MainPID", "NRestarts"))
    subprocess.run(["nsenter", "-t", str(systemd.process), "-p", "-m", "kill", "-STOP", main], check=True)
    until(lambda: int(systemd.show("greeter.service", "NRestarts")) > int(before), "the restart by the watchdog")
    echo()
    check(systemd.show("greeter.service", "MainPID") != main, "the process that hangs is still there")


def hot_restarts(program, count=10):
    """The unit of "Restarting without loss": reloaded, the main process is another one, and no client notices."""
    unit = changed(block_of("RestartingWithoutLoss.md", "[Service]"), WatchdogSec="30",
                   ExecStart=f"{PROGRAM} --port {PORT} --restart-path /run/greeter/control")
    with Systemd(program, {"greeter.service": unit}) as systemd:
        systemd.control("start", "greeter.service")
        processes = {systemd.show("greeter.service", "MainPID")}
        with Clients() as clients:
            for number in range(count):
                systemd.control("reload", "greeter.service")
                until(lambda: systemd.show("greeter.service", "MainPID") not in processes, f"process {number + 2}")
                processes.add(systemd.show("greeter.service", "MainPID"))
                check(systemd.show("greeter.service", "ActiveState") == "active", "the service has ended")
        judge(clients)
        check(systemd.show("greeter.service", "NRestarts") == "0", "systemd has taken a reload for an end")
        stops_in_order(systemd)


def stops_in_order(systemd):
    """It gets the time that it needs, also where it is a process that systemd has not started."""
    with connect() as client:
        exchange(client)
        stopping = threading.Thread(target=systemd.control, args=("stop", "greeter.service"))
        stopping.start()
        check(client.recv(1) == b"", "the connection between two messages is not ended")
    stopping.join()
    check_end(systemd)


def keeps_socket(program):
    """Without a socket unit, systemd keeps the socket that the process has opened."""
    unit = changed(block_of("RunningUnderSystemd.md", "[Unit]").split("\n\n", 1)[1], FileDescriptorStoreMax="1",
                   ExecStart=f"{PROGRAM} --port {PORT} --store-socket")
    with Systemd(program, {"greeter.service": unit}) as systemd:
        systemd.control("start", "greeter.service")
        check(systemd.show("greeter.service", "NFileDescriptorStore") == "1", "systemd has no socket")
        with Clients() as clients:
            for _ in range(3):
                systemd.control("restart", "greeter.service")
        judge(clients)
        systemd.control("stop", "greeter.service")


def is_hardened(program):
    """The unit of "Deploying": a user of its own, a file system that it can only read, and few system calls."""
    unit = changed(block_of("Deploying.md", "[Unit]\nDescription=Echo"),
                   ExecStart=f"{PROGRAM} --port {PORT} --grace 20 --loops 2")
    with Systemd(program, {"greeter.service": unit}) as systemd:
        systemd.control("start", "greeter.service")
        until(is_listening, "the service")
        main = systemd.show("greeter.service", "MainPID")
        status = subprocess.run(["nsenter", "-t", str(systemd.process), "-p", "-m", "cat", f"/proc/{main}/status"], check=True,
                                text=True, stdout=subprocess.PIPE).stdout
        check("\nUid:\t0\t" not in status and "\nSeccomp:\t2" in status, f"it is not confined: {status}")
        stops_in_order(systemd)


def is_listening():
    try:
        echo()
    except ConnectionRefusedError:
        return False
    return True


CASES = (
    ("Under systemd, confined", is_hardened),
    ("Under systemd, a socket unit and a watchdog", serves_by_socket),
    ("Under systemd, reloaded by hot restarts", hot_restarts),
    ("Under systemd, the socket in its store", keeps_socket),
)
