# SPDX-License-Identifier: Apache-2.0
"""A ClientHello that can be taken apart and put together wrongly, and the records around it."""

import socket
import struct

HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC, DATA = 22, 21, 20, 23
CLIENT_HELLO = 1


def record(content, kind=HANDSHAKE, version=0x0301, length=None):
    """`length` is what its header says, in place of the true one."""
    return struct.pack(">BHH", kind, version, len(content) if length is None else length) + content


def message(body, kind=CLIENT_HELLO, length=None):
    return struct.pack(">I", (kind << 24) | (len(body) if length is None else length)) + body


def vector(content, size):
    return len(content).to_bytes(size, "big") + content


class Hello:
    """Each field may be replaced before it is put together."""

    def __init__(self, text):
        self.version = text[4:6]
        self.random = text[6:38]
        place = 38

        def take(size):
            nonlocal place
            start = place + size
            place = start + int.from_bytes(text[place:start], "big")
            return text[start:place]
        self.session = take(1)
        self.suites = take(2)
        self.compressions = take(1)
        extensions = take(2)
        self.extensions = []
        while extensions:
            kind, length = struct.unpack(">HH", extensions[:4])
            self.extensions.append((kind, extensions[4:4 + length]))
            extensions = extensions[4 + length:]

    def put(self, kind, content):
        """Replaces an extension, or adds it."""
        self.extensions = [one for one in self.extensions if one[0] != kind] + [(kind, content)]
        return self

    def without(self, *kinds):
        self.extensions = [one for one in self.extensions if one[0] not in kinds]
        return self

    def set(self, **fields):
        vars(self).update(fields)
        return self

    def body(self):
        extensions = b"".join(struct.pack(">H", kind) + vector(content, 2) for kind, content in self.extensions)
        return (self.version + self.random + vector(self.session, 1) + vector(self.suites, 2)
                + vector(self.compressions, 1) + vector(extensions, 2))

    def message(self):
        return message(self.body())

    def record(self):
        return record(self.message())


def captured(minor):
    """The ClientHello that tlslite sends for this TLS 1.x, as a message."""
    from tlslite.api import HandshakeSettings, TLSConnection
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        settings = HandshakeSettings()
        settings.minVersion = (3, 3)
        settings.maxVersion = (3, minor + 1)
        steps = TLSConnection(theirs).handshakeClientCert(settings=settings, serverName="www.example.com", async_=True,
                                                          alpn=[bytearray(b"h2")])
        while next(steps) != 0:
            pass
        return ours.recv(65536)[5:]
