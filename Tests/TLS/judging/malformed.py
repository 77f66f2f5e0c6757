# SPDX-License-Identifier: Apache-2.0
"""Handshakes that no honest client makes: by hand before the server's answer, by tlslite-ng after it. Each ends with the
right alert, an established connection answers beside it, and in the end the server has its memory back."""

import math
import socket
import struct

from hostile.report import scenario

from . import packages
from .hello import ALERT, HANDSHAKE, captured
from .hello_cases import ANSWERS, ENDS, before_an_answer
from .server import Server, echoes

SECONDS = 10
# What an allocator may keep differently after the second of two equal rounds.
MOST_LEFT = 256 << 10


def receive(client, size):
    """So many bytes, or fewer where the connection has ended."""
    content = b""
    try:
        while len(content) < size and (more := client.recv(size - len(content))):
            content += more
    except ConnectionResetError:
        pass
    return content


def read_record(client):
    """Its type and content; (None, b"") at the end."""
    header = receive(client, 5)
    if len(header) < 5:
        return None, header
    kind, _, length = struct.unpack(">BHH", header)
    return kind, receive(client, length)


def answer_of(client):
    """What the server sends: an alert's number, ANSWERS, both or ENDS. Alerts that are encrypted it does not read."""
    kind, content = read_record(client)
    has_answered = kind == HANDSHAKE
    while kind is not None and kind != ALERT:
        kind, content = read_record(client)
    if kind is None:
        return ANSWERS if has_answered else ENDS
    if receive(client, 1):
        return f"{content[1]}, and goes on"
    return f"{ANSWERS}, then {content[1]}" if has_answered else content[1]


def outcome_of_bytes(server, text):
    with server.connect() as client:
        client.settimeout(SECONDS)
        try:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has seen enough
        try:
            return answer_of(client)
        except TimeoutError:
            return "silence"


def judge_round(server, cases):
    """Lines for those that are wrong; each case is (name, outcome, how)."""
    wrong = []
    with server.client() as beside:
        for name, outcome, find in cases:
            found = find(server)
            if found != outcome:
                wrong.append(f"{name}: {found}, not {outcome}")
            if not echoes(beside):
                wrong.append(f"{name}: the connection beside it was disturbed")
    return wrong


def all_cases(is_long):
    # Where tlslite is installed, which only then can be imported.
    from .encrypted_cases import after_an_answer
    yield from after_an_answer(is_long)
    texts = {minor: captured(minor) for minor in (2, 3)}
    for name, outcome, text in before_an_answer(texts):
        yield name, outcome, lambda server, text=text: outcome_of_bytes(server, text)


@scenario("malformed")
def malformed(figures):
    """malformed handshakes, by hand and by tlslite-ng"""
    packages.needs(figures.programs, "tlslite")
    cases = list(all_cases(figures.is_long))
    with Server(figures.programs) as server:
        def settle(most=math.inf):
            # The server closes a connection a moment after its client.
            report = server.report_when(lambda report: report["current"] == 0 and report["descriptors"] <= most,
                                        f"handshakes or more than {most} descriptors are left")
            return report["descriptors"], server.resident_bytes()
        wrong = judge_round(server, cases)
        descriptors, size = settle()
        wrong += judge_round(server, cases)
        descriptors_after, size_after = settle(descriptors)
    print("\n".join(wrong[:40]), end="\n" if wrong else "")
    figures.add("malformed handshakes", len(cases), at_least=60)
    figures.add("that ended otherwise, in two rounds", len(wrong), exactly=0)
    figures.add("descriptors more after the second round", descriptors_after - descriptors, at_most=0)
    if not figures.programs.is_sanitized:
        figures.add("bytes more after the second round", size_after - size, at_most=MOST_LEFT)
