# SPDX-License-Identifier: Apache-2.0
"""A program that calls exit() while its threads make handshakes: OpenSSL frees then what they use."""

import contextlib
import ssl

from hostile.report import scenario

from .server import PATIENT, SECONDS, Server

CLIENTS = 400


def first_message(server):
    """Of a client, which has the server sign."""
    context = ssl.create_default_context(cafile=str(server.authority))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="www.example.com").do_handshake()
    return outgoing.read()


@scenario("exits")
def exits(figures):
    """exit() in the middle of RSA handshakes on threads"""
    rounds = figures.many(20, 200)
    for number in range(rounds):
        # A crash is another status than 0, and fails the run.
        with Server(figures.programs, "rsa", timeout=PATIENT, threads=2) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(CLIENTS)]
            message = first_message(server)
            # At another time in each round.
            for client in clients[:1 + number * CLIENTS // rounds]:
                client.sendall(message)
            server.process.stdin.write("exit\n")
            server.process.wait(SECONDS)
    figures.add("ends in order", rounds, exactly=rounds)
