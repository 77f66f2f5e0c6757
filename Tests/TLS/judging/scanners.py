# SPDX-License-Identifier: Apache-2.0
"""testssl.sh and sslyze look for weaknesses of a server with the settings that it has by default."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hostile.report import Failed, Skipped, long_only, scenario

from . import packages
from .server import Server

NAME = "www.example.com"
# testssl.sh: what each scan may say, and why that is no fault of the server.
EXPLAINED = {
    "engine_problem": "about the openssl command, which has no GOST",
    "security_headers": "about pages of HTTP; the server answers each request of the tests with a bare one",
    "cert_revocation": "the authority of the tests publishes no revocations",
    "cipher_order": "all suites are AEAD with forward secrecy; as in Mozilla's configurations the client chooses, which "
                    "knows whether it has AES in hardware",
}
HARMLESS = ("OK", "INFO", "LOW", "DEBUG")
# What the server must have been found to refuse, by testssl.sh's names.
REFUSED = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "secure_client_renego", "CRIME_TLS", "heartbleed", "CCS", "ticketbleed")


@scenario("testssl.sh")
@long_only
def testssl(figures):
    """testssl.sh finds nothing above LOW"""
    # Debian leaves the ending out.
    program = shutil.which("testssl.sh") or shutil.which("testssl")
    if not program:
        raise Skipped("there is no testssl.sh here (scripts/install-dependencies ci)")
    with tempfile.TemporaryDirectory() as folder, Server(figures.programs) as server:
        path = Path(folder, "findings.json")
        words = [program, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1",
                 "--jsonfile", path, f"{NAME}:{server.port}"]
        result = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=600,
                                env=os.environ | {"ADDITIONAL_CA_FILES": str(server.authority)})
        if not path.exists():
            raise Failed(f"testssl.sh did not scan: {result.stdout[-1000:]}")
        findings = json.loads(path.read_text(encoding="utf-8"))
    bad = [one for one in findings if one["severity"] not in HARMLESS and one["id"] not in EXPLAINED]
    severities = {one["id"]: one["severity"] for one in findings}
    for one in bad:
        print(f"{one['severity']}: {one['id']}: {one['finding']}")
    figures.add("findings above LOW", len(bad), exactly=0)
    figures.add("things that it looked at", len(findings), at_least=100)
    for name in REFUSED:
        figures.check(f"{name} is {severities.get(name)}", severities.get(name) in ("OK", "INFO"))


def sslyze_findings(report):
    """What is wrong, by the parts of sslyze's report."""
    target, = report["server_scan_results"]
    result = target["scan_result"]

    def of(part):
        if result[part]["status"] != "COMPLETED":
            raise Failed(f"sslyze could not look for {part}: {result[part]['error_trace']}")
        return result[part]["result"]
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        for suite in of(f"{version}_cipher_suites")["accepted_cipher_suites"]:
            yield f"{version} with {suite['cipher_suite']['name']}"
    for version in ("tls_1_2", "tls_1_3"):
        accepted = [suite["cipher_suite"]["name"] for suite in of(f"{version}_cipher_suites")["accepted_cipher_suites"]]
        yield from (f"{version} with {name}" for name in accepted
                    if not name.endswith(("_GCM_SHA256", "_GCM_SHA384", "_POLY1305_SHA256")))
        if not accepted:
            yield f"no {version}"
    for part, name, good in (
            ("tls_compression", "supports_compression", False), ("tls_1_3_early_data", "supports_early_data", False),
            ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", False),
            ("tls_fallback_scsv", "supports_fallback_scsv", True),
            ("heartbleed", "is_vulnerable_to_heartbleed", False),
            ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", False),
            ("session_renegotiation", "supports_secure_renegotiation", True),
            ("tls_extended_master_secret", "supports_ems_extension", True)):
        if of(part)[name] != good:
            yield f"{name} is {of(part)[name]}"
    if not of("robot")["robot_result"].startswith("NOT_VULNERABLE"):
        yield f"ROBOT: {of('robot')['robot_result']}"
    resumption = of("session_resumption")
    if resumption["session_id_resumption_result"] != "NOT_SUPPORTED":
        yield f"sessions that the server keeps: {resumption['session_id_resumption_result']}"
    if resumption["tls_ticket_resumption_result"] != "FULLY_SUPPORTED":
        yield f"tickets: {resumption['tls_ticket_resumption_result']}"


@scenario("sslyze")
def sslyze(figures):
    """sslyze finds nothing wrong, and Mozilla's intermediate configuration"""
    folder = packages.needs(figures.programs, "sslyze")
    with tempfile.TemporaryDirectory() as place:
        for key in ("ecdsa", "rsa"):
            with Server(figures.programs, key) as server:
                path = Path(place, key)
                result = subprocess.run(
                    [sys.executable, "-W", "ignore", "-m", "sslyze", f"127.0.0.1:{server.port}", "--sni", NAME,
                     "--certinfo_ca_file", str(server.authority), "--early_data", "--resum", "--json_out", str(path),
                     "--mozilla_config", "intermediate"],
                    env=os.environ | {"PYTHONPATH": str(folder)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True, timeout=120)
            if not path.exists():
                raise Failed(f"sslyze did not scan: {result.stdout[-1000:]}")
            found = list(sslyze_findings(json.loads(path.read_text(encoding="utf-8"))))
            print("\n".join(found), end="\n" if found else "")
            figures.add(f"{key}: findings", len(found), exactly=0)
            figures.add(f"{key}: as Mozilla's configuration", str("OK - Compliant" in result.stdout), exactly="True")
