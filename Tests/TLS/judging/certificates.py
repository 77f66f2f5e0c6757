# SPDX-License-Identifier: Apache-2.0
"""Certificates of the servers and of their clients, made by openssl: each is issued by an intermediate authority."""

from hostile import network

KEYS = {
    "ecdsa": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "ed25519": ("ED25519",),
}
# File of a server's certificate -> the name in it.
NAMES = {"default": "default.test", "exact": "www.example.com", "wildcard": "*.example.com"}
CLIENTS = ("good", "expired", "other")


class Maker:
    def __init__(self, folder):
        self.folder = folder

    def openssl(self, *words):
        return network.run("openssl", *words)

    def key(self, name, kind):
        path = self.folder / f"{name}.key"
        self.openssl("genpkey", "-quiet", "-algorithm", *KEYS[kind], "-out", path)
        return path

    def issue(self, name, kind, issuer, extensions, days=90, common_name=None):
        """NAME.crt and NAME.key; without an issuer it signs itself."""
        key, certificate = self.key(name, kind), self.folder / f"{name}.crt"
        wishes = self.folder / f"{name}.wishes"
        wishes.write_text("\n".join(extensions), encoding="ascii")
        request = self.folder / f"{name}.csr"
        self.openssl("req", "-new", "-key", key, "-subj", f"/CN={common_name or name}", "-out", request)
        signed_by = (("-CA", self.folder / f"{issuer}.crt", "-CAkey", self.folder / f"{issuer}.key", "-CAcreateserial")
                     if issuer else ("-signkey", key))
        self.openssl("x509", "-req", "-in", request, "-days", days, "-extfile", wishes, "-out", certificate, *signed_by)

    def bundle(self, name, issuer):
        """NAME.pem: the certificate, that of its issuer, and the key."""
        parts = (f"{name}.crt", f"{issuer}.crt", f"{name}.key")
        text = "".join((self.folder / part).read_text(encoding="ascii") for part in parts)
        (self.folder / f"{name}.pem").write_text(text, encoding="ascii")


def make(folder):
    """All of them, as the server and its clients look for them."""
    maker = Maker(folder)
    authority = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign",
                 "subjectKeyIdentifier=hash")
    for root, intermediate in (("authority", "intermediate"), ("other-authority", "other-intermediate")):
        maker.issue(root, "ecdsa", None, authority)
        maker.issue(intermediate, "ecdsa", root, authority)
    (folder / "authority.pem").write_text((folder / "authority.crt").read_text(encoding="ascii"), encoding="ascii")
    for name, host in NAMES.items():
        for kind in KEYS:
            maker.issue(f"{name}-{kind}", kind, "intermediate",
                        (f"subjectAltName=DNS:{host}", "keyUsage=critical,digitalSignature",
                         "extendedKeyUsage=serverAuth"),
                        common_name=f"{name}-{kind}")
            maker.bundle(f"{name}-{kind}", "intermediate")
    for name in CLIENTS:
        issuer = "other-intermediate" if name == "other" else "intermediate"
        maker.issue(name, "ecdsa", issuer, ("extendedKeyUsage=clientAuth",), days=-1 if name == "expired" else 90)
        maker.bundle(name, issuer)
