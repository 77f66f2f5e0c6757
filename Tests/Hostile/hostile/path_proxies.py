# SPDX-License-Identifier: Apache-2.0
"""Proxies that connect to a path, and send PROXY headers there."""

import tempfile

from .processes import Subject
from .proxies import compare, free_ports, program, stream_configuration, wait_for
from .report import needs, scenario


@scenario("haproxy-at-a-path")
@needs("haproxy")
def haproxy_at_a_path(figures):
    """HAProxy sends each kind of header over a UNIX socket, and its health checks: each client has its own address."""
    kinds = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,authority"]
    ports = free_ports(len(kinds))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/back"
        with Subject(figures, "name", "--proxy-headers", 5000, "--path", path) as server:
            text = "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n"
            for port, kind in zip(ports, kinds):
                text += (f"listen on{port}\n bind 127.0.0.1:{port}\n"
                         f" server it unix@{path} {kind} check inter 100\n")
            with program(["haproxy", "-db", "-f"], text, "cfg") as child:
                for port in ports:
                    wait_for(port, child)
                compare(figures, server, ports, figures.many(300, 100000), rest=lambda _: "path")
                server.wait_until("checks", lambda: server.statistics()["local"] >= 3)
                figures.add("health checks with a header", server.statistics()["local"], at_least=3)


@scenario("nginx-at-a-path")
@needs("nginx")
def nginx_at_a_path(figures):
    """nginx passes streams on with version 1 over a UNIX socket: each client has its own address."""
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/back"
        with Subject(figures, "name", "--proxy-headers", 5000, "--path", path) as server:
            text = stream_configuration(f"listen 127.0.0.1:{port}; proxy_pass unix:{path};")
            with program(["nginx", "-c"], text, "conf") as child:
                wait_for(port, child)
                compare(figures, server, [port], figures.many(300, 100000), rest=lambda _: "path")
