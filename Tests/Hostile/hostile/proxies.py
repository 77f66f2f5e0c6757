# SPDX-License-Identifier: Apache-2.0
"""Proxies that send PROXY headers: real ones, and peers who send none."""

import contextlib
import select
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import network
from .processes import Subject
from .report import Failed, needs, percentile, scenario

HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def good_client(port):
    """One that sends its header and a byte, and has that back; milliseconds."""
    start = time.monotonic()
    with network.connect(port, "127.0.0.100") as client:
        client.sendall(HEADER + b"x")
        if client.recv(1) != b"x":
            raise Failed("a good client was not served")
    return 1000 * (time.monotonic() - start)


def cut_off(peers, until):
    """When the server has ended each of the peers, as far as that is until then."""
    poller = select.epoll()
    by_number = {peer.fileno(): peer for peer in peers}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    ends = {}
    while len(ends) < len(peers) and time.monotonic() < until:
        for number, _ in poller.poll(0.02):
            ends[by_number[number]] = time.monotonic()
            poller.unregister(number)
    poller.close()
    return ends


@scenario("silent-proxies")
def silent_proxies(figures):
    """Trusted peers who send no header, or half of one: each is cut at its deadline, and a good one does not notice."""
    # So many in the short form, too: what the process has besides is divided by their number.
    count, limit = 5000, figures.many(3.0, 5.0)
    with Subject(figures, "echo", "--proxy-headers", int(1000 * limit)) as server:
        for _ in range(20):
            good_client(server.port)
        memory, began, peers = server.memory(), {}, []
        for index in range(count):
            peer = network.connect(server.port, network.source(index))
            began[peer] = time.monotonic()
            if index % 10 == 9:
                peer.sendall(HEADER[:11])
            peers.append(peer)
        server.wait_until("all are in the preface", lambda: server.statistics()["in_preface"] == count)
        memory = (server.memory() - memory) / count
        times = []
        while time.monotonic() < began[peers[0]] + limit - 0.3:
            times.append(good_client(server.port))
            time.sleep(0.005)
        ends = cut_off(peers, time.monotonic() + limit + 5)
        late = [abs(ends[peer] - began[peer] - limit) for peer in ends]
        figures.add("silent peers", count)
        figures.add("cut off", len(ends), exactly=count)
        figures.add("from their deadline at most", 1000 * max(late), "ms", at_most=100)
        figures.add("good clients meanwhile", len(times), at_least=20)
        figures.add("p99", percentile(times, 0.99), "ms", at_most=50)
        figures.add("memory for each", memory, "bytes", at_most=300)
        now = server.judge(figures, count + len(times) + 20)
        figures.add("timeouts counted", now["preface_timeouts"], exactly=count)
        for peer in peers:
            peer.close()


@contextlib.contextmanager
def program(command, text, suffix):
    """A proxy with this configuration; the command ends with what the path of that follows."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        path = Path(folder) / f"configuration.{suffix}"
        path.write_text(text.replace("FOLDER", folder), encoding="ascii")
        child = subprocess.Popen([*command[:-1], f"{command[-1]}{path}"] if command[-1].endswith("=") else
                                 [*command, str(path)], stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT)
        child.output = output
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def wait_for(port, child):
    until = time.monotonic() + 20
    while True:
        try:
            return network.connect(port).close()
        except OSError:
            if child.poll() is not None:
                child.output.seek(0)
                raise Failed(f"the proxy ended: {child.output.read().decode(errors='replace')}") from None
            if time.monotonic() > until:
                raise Failed("the proxy does not listen") from None
            time.sleep(0.05)


def named(port, index, rest, encrypt):
    """Whether the server was given this client's address, and the rest."""
    with network.connect(port, network.source(index)) as plain:
        address, own = plain.getsockname()
        with encrypt(plain) if encrypt else contextlib.nullcontext(plain) as client:
            answer = b""
            while piece := client.recv(100):
                answer += piece
            return answer.decode() == f"{address} {own} {rest(client)}\n"


def compare(figures, server, ports, count, rest=lambda _: "127.0.0.1", encrypt=None):
    """Through each of the ports in turn. `rest` is what the server has to say of a client besides its address: the
    proxy's address, and the TLS that the proxy has named."""
    wrong = lost = 0
    for index in range(count):
        try:
            wrong += not named(ports[index % len(ports)], index, rest, encrypt)
        except OSError:
            lost += 1
    figures.add("connections", count)
    figures.add("with another address", wrong, exactly=0)
    figures.add("lost", lost, exactly=0)
    now = server.statistics()
    figures.add("refused headers", now["preface_invalid"] + now["preface_cut_short"] + now["preface_timeouts"], exactly=0)
    return now


@scenario("haproxy")
@needs("haproxy")
def haproxy(figures):
    """HAProxy sends version 1, 2, 2 with TLS and a checksum, and its health checks: each client has its own address."""
    kinds = ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn", "send-proxy-v2 proxy-v2-options crc32c,authority"]
    ports = free_ports(len(kinds))
    with Subject(figures, "name", "--proxy-headers", 5000) as server:
        text = "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n"
        for port, kind in zip(ports, kinds):
            text += (f"listen on{port}\n bind 127.0.0.1:{port}\n"
                     f" server it 127.0.0.1:{server.port} {kind} check inter 100\n")
        with program(["haproxy", "-db", "-f"], text, "cfg") as child:
            for port in ports:
                wait_for(port, child)
            now = compare(figures, server, ports, figures.many(800, 100000))
            server.wait_until("checks", lambda: server.statistics()["local"] >= 4)
            figures.add("health checks with a header", server.statistics()["local"], at_least=4)
            figures.add("health checks without a byte", now["preface_silent"])


def stream_configuration(server):
    """nginx's, with one server of a stream."""
    module = f"load_module {STREAM_MODULE};\n" if STREAM_MODULE.exists() else ""
    return (f"{module}daemon off;\nmaster_process off;\npid FOLDER/pid;\nerror_log FOLDER/log;\n"
            f"events {{ worker_connections 4096; }}\nstream {{ server {{ {server} proxy_protocol on; }} }}\n")


@scenario("nginx-stream")
@needs("nginx")
def nginx_stream(figures):
    """nginx passes streams on with version 1: each client has its own address."""
    [port] = free_ports(1)
    with Subject(figures, "name", "--proxy-headers", 5000) as server:
        text = stream_configuration(f"listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{server.port};")
        with program(["nginx", "-c"], text, "conf") as child:
            wait_for(port, child)
            compare(figures, server, [port], figures.many(200, 100000))
