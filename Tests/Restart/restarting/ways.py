# SPDX-License-Identifier: Apache-2.0
"""How a server is restarted: EchoServer in four ways, HAProxy and nginx in two each."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from hostile import network
from hostile.processes import Server
from hostile.report import Failed, Skipped

from .clients import SERVER

# Each has a network of its own, so that the port is free.
PORT = 4243
# How long a server may drain, and then be waited for.
GRACE = 20
LIMIT = 60


def until(condition, what):
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within {LIMIT} s")
        time.sleep(0.005)


class Way:
    """A running server. `restart` returns when the old process has ended."""

    protocol = "http"
    port = PORT

    def __init__(self, programs):
        self.programs = programs
        self.folder = tempfile.TemporaryDirectory()
        self.complaints = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        self.folder.cleanup()

    def path(self, name):
        return Path(self.folder.name, name)


class EchoWay(Way):
    """One that is served by EchoServer."""

    server = None
    others = ()

    def new_server(self, *options, command=None, **how):
        command = command or [self.programs.echo_server, "--address", SERVER, "--port", PORT]
        if self.protocol == "http":
            command = [*command, "--http"]
        return Server([*command, "--max-connections", 50000, "--grace", GRACE, *options], **how)

    def end(self, server):
        """Waits for its end, which is in order."""
        try:
            status = server.child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed("an old process did not end") from None
        output = server.child.stdout.read().decode()
        if status != 0 or "Cut off" in output or server.errors():
            self.complaints.append(f"an old process ended with {status}: {output}{server.errors()}")
        server.__exit__()

    def stop(self):
        self.server.child.send_signal(signal.SIGTERM)
        self.end(self.server)
        self.server = None
        return self.complaints

    def kill(self):
        if self.server:
            self.server.__exit__()


class HotRestart(EchoWay):
    title = "EchoServer, hot restart"

    def __init__(self, programs, protocol="http", drain_idle=0):
        super().__init__(programs)
        self.protocol = protocol
        self.drain_idle = drain_idle

    def start(self):
        self.server = self.new_server("--restart-path", self.path("control"), "--drain-idle", self.drain_idle)

    def restart(self):
        until(self.is_offered, "the control socket")
        before = self.server
        try:
            self.start()
            self.end(before)
        finally:
            before.__exit__()

    def is_offered(self):
        """Whether the server is past its start, as an operator sees it by the path, and so may be followed by another."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            try:
                control.connect(str(self.path("control")))
            except OSError:
                return False
            return True


class StopThenStart(EchoWay):
    title = "EchoServer, stopped and started"

    def start(self):
        self.server = self.new_server()

    def restart(self):
        self.stop()
        self.start()


class SocketActivate(StopThenStart):
    title = "EchoServer, systemd-socket-activate"

    def start(self):
        if not network.has("systemd-socket-activate"):
            raise Skipped("systemd-socket-activate is not installed")
        # It opens the socket, and becomes the server when the first client comes.
        self.activated = subprocess.Popen(
            ["systemd-socket-activate", "-l", f"{SERVER}:{PORT}", "--fdname=echo", self.programs.echo_server, "--http",
             "--max-connections", "50000", "--grace", str(GRACE)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(listens, "its socket")

    def stop(self):
        self.activated.send_signal(signal.SIGTERM)
        self.activated.wait(LIMIT)
        return self.complaints

    def kill(self):
        self.activated.kill()
        self.activated.wait()


class SocketUnit(StopThenStart):
    title = "EchoServer, socket kept by a manager"

    listener = None

    def start(self):
        self.listener = self.listener or socket.create_server((SERVER, PORT), backlog=4096)
        # As a socket unit does it: the variables name the process that becomes the server.
        self.server = self.new_server(
            before=["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"], pass_fds=(3,),
            prepare=lambda: os.dup2(self.listener.fileno(), 3),
            environment={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "echo"})

    def kill(self):
        super().kill()
        if self.listener:
            self.listener.close()


def listens():
    """Whether anything listens at the port; without a connection, which a server would have to serve."""
    return f":{PORT} " in network.run("ss", "-tlnH")


def children_of(pid):
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


HAPROXY = """
global
  maxconn 9000
  hard-stop-after {grace}s
  {stats}
defaults
  mode http
  timeout client 30s
  timeout http-keep-alive 30s
frontend all
  bind {address}:{port}
  http-request return status 200 content-type text/plain string "hello"
"""


class HAProxy(Way):
    """Its master starts a new worker on SIGUSR2, which gets the sockets from the old one."""

    title = "HAProxy, -W with expose-fd"
    options = ("-W",)
    stats = "stats socket {path} level admin expose-fd listeners"
    migrates = 0

    def start(self):
        if not network.has("haproxy"):
            raise Skipped("haproxy is not installed")
        network.set_kernel("net.ipv4.tcp_migrate_req", self.migrates)
        self.path("configuration").write_text(
            HAPROXY.format(address=SERVER, port=PORT, grace=GRACE, stats=self.stats.format(path=self.path("stats"))), encoding="ascii")
        self.child = self.spawn()
        until(listens, "its socket")

    def spawn(self, *more):
        return subprocess.Popen(["/usr/sbin/haproxy", *self.options, "-db", "-f", self.path("configuration"), *more],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def restart(self):
        until(lambda: children_of(self.child.pid), "a worker")
        workers = children_of(self.child.pid)
        asked = 0

        def has_new_worker():
            # A signal that comes while a master is starting is lost.
            nonlocal asked
            if time.monotonic() - asked > 1:
                asked = time.monotonic()
                self.child.send_signal(signal.SIGUSR2)
            return set(children_of(self.child.pid)) - set(workers)

        until(has_new_worker, "a new worker")
        until(lambda: not any(is_alive(worker) for worker in workers), "the end of the old worker")

    def stop(self):
        self.kill()
        return []

    def kill(self):
        self.child.terminate()
        self.child.wait(LIMIT)
        network.set_kernel("net.ipv4.tcp_migrate_req", 0)


class HAProxyReusingPort(HAProxy):
    """Each process has a socket of its own for the port; those in the queue of the old one are reset."""

    title = "HAProxy, SO_REUSEPORT"
    options = ()
    stats = ""

    def restart(self):
        before = self.child
        self.child = self.spawn("-sf", str(before.pid))
        try:
            before.wait(LIMIT)
        except subprocess.TimeoutExpired:
            before.kill()
            raise Failed("an old HAProxy did not end") from None


class HAProxyMigrating(HAProxyReusingPort):
    title = "HAProxy, SO_REUSEPORT, tcp_migrate_req=1"
    migrates = 1


NGINX = """
worker_processes 1;
pid {folder}/pid;
error_log /dev/null;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {address}:{port} backlog=4096;
    return 200 "hello";
  }}
}}
"""


class Nginx(Way):
    """SIGUSR2 makes a master start its program anew, which inherits the sockets; SIGQUIT ends the old one in order."""

    title = "nginx, SIGUSR2 and SIGQUIT"

    def start(self):
        if not network.has("nginx"):
            raise Skipped("nginx is not installed")
        self.path("configuration").write_text(NGINX.format(address=SERVER, port=PORT, folder=self.folder.name), encoding="ascii")
        self.child = subprocess.Popen(["/usr/sbin/nginx", "-c", self.path("configuration"), "-e", "/dev/null"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: children_of(self.master()), "its worker")

    def master(self):
        try:
            return int(self.path("pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def restart(self):
        before = self.master()
        os.kill(before, signal.SIGUSR2)
        until(lambda: self.master() not in (0, before) and children_of(self.master()), "a new master and its worker")
        os.kill(before, signal.SIGQUIT)
        until(lambda: not is_alive(before), "the end of the old master")

    def stop(self):
        self.kill()
        return []

    def kill(self):
        master = self.master()
        if master and is_alive(master):
            os.kill(master, signal.SIGTERM)
            until(lambda: not is_alive(master), "its end")
        self.child.wait(LIMIT)


ALL = (HotRestart, SocketUnit, SocketActivate, StopThenStart, HAProxy, HAProxyReusingPort, HAProxyMigrating, Nginx)
