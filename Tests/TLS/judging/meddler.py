# SPDX-License-Identifier: Apache-2.0
"""A client of tlslite-ng that sends other messages than it should, in its handshake and after it."""

import socket

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.errors import TLSAbruptCloseError, TLSClosedConnectionError, TLSLocalAlert, TLSRemoteAlert
from tlslite.messages import Message

from .hello import ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, message

CLOSE_NOTIFY = 0
FINISHED, KEY_UPDATE, CERTIFICATE, CLIENT_KEY_EXCHANGE, NEW_SESSION_TICKET = 20, 24, 11, 16, 4


class Meddler(TLSConnection):
    """`replace` gets each record's type and content before it is encrypted, and returns those to send in its place."""

    def __init__(self, connection, minor, replace=None):
        super().__init__(connection)
        self.replace = replace
        self.tcp = connection
        self.settings = HandshakeSettings()
        self.settings.minVersion = self.settings.maxVersion = (3, minor + 1)

    def _sendMsgThroughSocket(self, msg):
        content = bytes(msg.write())
        parts = [(msg.contentType, content)]
        if self.replace:
            parts = self.replace(msg.contentType, content)
        for kind, part in parts:
            yield from super()._sendMsgThroughSocket(Message(kind, bytearray(part)))

    def shake_hands(self):
        self.handshakeClientCert(settings=self.settings, serverName="www.example.com")

    def put(self, kind, content, times=1):
        """Records, encrypted as the next ones are; gathered, so that many are fast."""
        self.sock.buffer_writes = True
        for number in range(times):
            for _ in super()._sendMsgThroughSocket(Message(kind, bytearray(content))):
                pass
            if number % 1000 == 999:
                self.sock.flush()
        self.sock.flush()
        self.sock.buffer_writes = False

    def update_key(self, asks):
        """A KeyUpdate, after which this side's key is the next one."""
        for _ in self.send_keyupdate_request(int(asks)):
            pass

    def echo(self, text=b"hello"):
        self.write(text)
        answer = b""
        while len(answer) < len(text):
            more = self.read(max=len(text) - len(answer), min=1)
            if not more:
                return False
            answer += more
        return answer == text


def outcome(server, minor, act, replace=None, seconds=20):
    """What becomes of a client that does `act` after its handshake: "echoes" where that returns true, an alert's number,
    or "ends"."""
    with server.connect() as connection:
        connection.settimeout(seconds)
        client = Meddler(connection, minor, replace)
        client.closeSocket = False
        try:
            client.shake_hands()
            client.replace = None
            if act(client):
                return "echoes"
            client.read(min=1)
            return CLOSE_NOTIFY if client.closed else "data"
        except TLSRemoteAlert as alert:
            return alert.description
        except TLSLocalAlert as alert:
            return f"the client refuses with {alert.description}: {alert.message}"
        except (TLSAbruptCloseError, TLSClosedConnectionError, ConnectionError):
            return unread_alert(client)
        except socket.timeout:
            return "silence"


def unread_alert(client):
    """An alert that came before the connection broke while this side was sending."""
    try:
        client.closed = False
        client.read(min=1)
    except TLSRemoteAlert as alert:
        return alert.description
    except (TLSAbruptCloseError, TLSClosedConnectionError, TLSLocalAlert, OSError):
        pass
    return "ends"


def replacing(kind, first, parts):
    """Sends `parts` of the content in place of the record of that type whose content begins with that byte."""
    def replace(found, content):
        return parts(content) if found == kind and content[:1] == bytes([first]) else [(found, content)]
    return replace


__all__ = ["ALERT", "CERTIFICATE", "CHANGE_CIPHER_SPEC", "CLIENT_KEY_EXCHANGE", "CLOSE_NOTIFY", "DATA", "FINISHED",
           "HANDSHAKE", "KEY_UPDATE", "NEW_SESSION_TICKET", "message", "outcome", "replacing"]
