# SPDX-License-Identifier: Apache-2.0
"""Proxies that end the clients' TLS, and say so in their PROXY headers or not."""

import ssl
import tempfile
from pathlib import Path

from . import network
from .processes import Subject
from .proxies import compare, free_ports, program, wait_for
from .report import Skipped, needs, scenario


def make_identity(folder):
    """A file with a key and a certificate, for no name in particular."""
    key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
    network.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost")
    both = Path(folder) / "both.pem"
    both.write_text(key.read_text(encoding="ascii") + certificate.read_text(encoding="ascii"), encoding="ascii")
    return both


def encryption():
    """What encrypts a client, for any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # A proxy may close without an alert.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0x80)
    return context.wrap_socket


def through(figures, command, configuration, suffix, says_tls):
    """Compares clients through a proxy whose configuration has IDENTITY, FRONT and BACK, or the PORT and BACKPORT of these."""
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as folder, Subject(figures, "name", "--proxy-headers", 5000) as server:
        text = configuration.replace("IDENTITY", str(make_identity(folder)))
        text = text.replace("BACKPORT", str(server.port)).replace("PORT", str(port))
        text = text.replace("FRONT", f"127.0.0.1:{port}").replace("BACK", f"127.0.0.1:{server.port}")
        with program(command, text, suffix) as child:
            wait_for(port, child)
            compare(figures, server, [port], figures.many(200, 100000), encrypt=encryption(),
                    rest=lambda client: f"127.0.0.1 {client.version()}" if says_tls else "127.0.0.1")


@scenario("haproxy-tls")
@needs("haproxy", "openssl")
def haproxy_tls(figures):
    """HAProxy ends the clients' TLS and names its version in version 2: each client has its own."""
    through(figures, ["haproxy", "-db", "-f"],
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n"
            "listen it\n bind FRONT ssl crt IDENTITY\n"
            " server it BACK send-proxy-v2-ssl-cn proxy-v2-options crc32c,ssl,cert-cn\n", "cfg", True)


@scenario("hitch")
@needs("hitch", "openssl")
def hitch(figures):
    """hitch ends the clients' TLS and names its version in version 2: each client has its own."""
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2] == "1":
        raise Skipped("hitch refuses to be root, and there is no other user in this namespace")
    through(figures, ["hitch", "--config="],
            'frontend = { host = "127.0.0.1" port = "PORT" }\nbackend = "[127.0.0.1]:BACKPORT"\n'
            'pem-file = "IDENTITY"\nwrite-proxy-v2 = on\nproxy-tlv = on\nworkers = 1\ndaemon = off\nlog-level = 0\nuser = "nobody"\n',
            "conf", True)


@scenario("stunnel")
@needs("stunnel", "openssl")
def stunnel(figures):
    """stunnel ends the clients' TLS and sends version 1: each client has its own address."""
    through(figures, ["stunnel"],
            "foreground = yes\npid =\ndebug = 3\n[it]\naccept = FRONT\nconnect = BACK\ncert = IDENTITY\n"
            "protocol = proxy\nTIMEOUTclose = 0\n", "conf", False)
