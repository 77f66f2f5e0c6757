# SPDX-License-Identifier: Apache-2.0
"""`openssl s_client` with every combination of what a client and a server agree on, against a table of outcomes. The
quick form takes rows of each outcome until each pair of values has been there."""

import contextlib
import itertools
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hostile.report import needs, scenario

from .s_client import Client
from .server import PATIENT, Server

# Value -> what s_client is given, and the expected outcome.
VERSIONS = {"1.2": "2", "1.3": "3"}
KEYS = ("ecdsa", "rsa", "ed25519")
NAMES = {"hit": ("www.example.com", "exact"), "wildcard": ("api.example.com", "wildcard"),
         "miss": ("other.test", "default"), "none": (None, "default")}
PROTOCOLS = {"hit": ("http/1.1", "http/1.1"), "none": (None, "-"), "mismatch": ("smtp", None)}
# The server's mode, the client's certificate, its refusal in each version, and what verifying it must give.
CLIENTS = {
    "not asked": ("none", None, None, 0),
    "none": ("verify", None, {"1.2": 40, "1.3": 116}, 0),
    "good": ("verify", "good", None, 0),
    "expired": ("verify", "expired", {"1.2": 45, "1.3": 45}, 10),
    "other CA": ("verify", "other", {"1.2": 48, "1.3": 48}, 20),
    "other CA, accepted": ("query", "other", None, 20),
}
SESSIONS = ("fresh", "ticket", "ticket on the other loop")
DIMENSIONS = (tuple(VERSIONS), KEYS, tuple(NAMES), tuple(PROTOCOLS), tuple(CLIENTS), SESSIONS)
NO_APPLICATION_PROTOCOL = 120
# So often two connections may be placed on the wrong loops in a row.
ATTEMPTS = 30


def all_pairs(rows):
    """Some of them, in which each pair of values is."""
    rows = list(rows)
    random.Random(1).shuffle(rows)

    def pairs(row):
        return set(itertools.combinations(enumerate(row), 2))
    missing = set().union(*map(pairs, rows))
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen


def refusal_of(row):
    """The alert that must come, or None."""
    version, _, _, protocol, client, session = row
    if PROTOCOLS[protocol][1] is None:
        return NO_APPLICATION_PROTOCOL
    # A resumed session has been verified before, and certificates are not sent again.
    alerts = CLIENTS[client][2]
    return alerts[version] if alerts and session == "fresh" else None


def outcome_of(row):
    """Of rows with different ones, one says nothing about what the other would find."""
    return refusal_of(row), row[5] == "fresh"


def few_of(rows):
    rows = sorted(rows, key=str)
    outcomes = {outcome_of(row) for row in rows}
    return [row for outcome in sorted(outcomes, key=str) for row in all_pairs(r for r in rows if outcome_of(r) == outcome)]


class Row:
    def __init__(self, row, server, programs, folder):
        self.version, self.key, self.name, self.protocol, self.client, self.session = row
        self.refusal = refusal_of(row)
        self.server = server
        self.certificates = programs.certificates
        self.ticket = Path(folder, "-".join(row).replace(" ", "_").replace("/", "_"))

    def connect(self, **options):
        _, certificate, _, _ = CLIENTS[self.client]
        usual = {"name": NAMES[self.name][0], "protocols": PROTOCOLS[self.protocol][0], "certificate": certificate}
        return Client(self.server, self.certificates, VERSIONS[self.version], **(usual | options))

    def judge(self):
        """What is wrong, or None."""
        if self.session == "fresh":
            with self.connect() as client:
                return self.judge_one(client, is_resumed=False)
        for _ in range(ATTEMPTS):
            wrong, is_right_loop = self.judge_with_ticket()
            if wrong or is_right_loop:
                return wrong
        return "no connection came to the other loop"

    def judge_with_ticket(self):
        _, certificate, refusal, _ = CLIENTS[self.client]
        # A client that is refused has no ticket: it comes with that of one that was not.
        accepted = {"protocols": PROTOCOLS["hit"][0], "certificate": "good" if refusal else certificate}
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(self.connect(**accepted, session_out=self.ticket))
            if not first.agreed or not self.ticket.exists():
                return f"no ticket: {first.text[-500:]}", True
            if self.session == "ticket":
                first.close()
            second = stack.enter_context(self.connect(session_in=self.ticket))
            is_other = second.agreed.get("loop") != first.agreed["loop"]
            wrong = self.judge_one(second, is_resumed=True)
            return wrong, is_other or self.session == "ticket" or not second.agreed

    def judge_one(self, client, is_resumed):
        mode, certificate, refusal, verification = CLIENTS[self.client]
        _, shown = NAMES[self.name]
        protocol = PROTOCOLS[self.protocol][1]
        if alert := self.refusal:
            found = {"alert": client.alert, "agreed": client.agreed}
            return None if found == {"alert": alert, "agreed": {}} else f"{found}, not alert {alert}: {client.text[-300:]}"
        has_certificate = mode != "none" and (certificate or is_resumed)
        wanted = {
            "version": f"tls1{VERSIONS[self.version]}", "protocol": protocol, "name": NAMES[self.name][0] or "-",
            "resumed": str(is_resumed).lower(), "verification": str(0 if is_resumed and refusal else verification),
        }
        wrong = {name: client.agreed.get(name) for name in wanted if client.agreed.get(name) != wanted[name]}
        if (client.agreed.get("certificates", "0") != "0") != bool(has_certificate):
            wrong["certificates"] = client.agreed.get("certificates")
        if not is_resumed and client.shown != f"{shown}-{self.key}":
            wrong["shown"] = client.shown
        return f"{wrong}, not {wanted}: {client.text[-300:]}" if wrong else None


def judge_rows(rows, key, mode, programs, folder):
    """What is wrong with the rows of one server, which has them one after the other."""
    with Server(programs, key, mode, loops=2, timeout=PATIENT) as server:
        found = [(row, Row(row, server, programs, folder).judge()) for row in rows]
        report = server.report_when(lambda report: report["current"] == 0, "handshakes are left")
    return [f"{', '.join(row)}: {wrong}" for row, wrong in found if wrong], report


@scenario("s_client")
@needs("openssl")
def matrix(figures):
    """openssl s_client: versions x keys x names x protocols x certificates x sessions"""
    rows = list(itertools.product(*DIMENSIONS))
    if not figures.is_long:
        rows = few_of(rows)

    def server_of(row):
        return row[1], CLIENTS[row[4]][0]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(judge_rows, list(group), *which, figures.programs, folder)
                for which, group in itertools.groupby(sorted(rows, key=server_of), server_of)]
        results = [job.result() for job in jobs]
    wrong = [line for lines, _ in results for line in lines]
    print("\n".join(wrong[:20]), end="\n" if wrong else "")
    figures.add("rows of the table", len(rows), at_least=20)
    figures.add("rows that are not as the table says", len(wrong), exactly=0)
    figures.add("sessions resumed", sum(report["resumed"] for _, report in results), at_least=1)
