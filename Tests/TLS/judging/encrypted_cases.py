# SPDX-License-Identifier: Apache-2.0
"""What a client may do wrong when it finishes its handshake, and later, and what the server must do: the number of an
alert, "echoes" for a connection that goes on, "ends" for one that ends without an alert.

Where the RFCs leave it open, or OpenSSL is more patient than they are, it is what OpenSSL does."""

from .hello import record
from .meddler import (ALERT, CERTIFICATE, CHANGE_CIPHER_SPEC, CLIENT_KEY_EXCHANGE, CLOSE_NOTIFY, DATA, FINISHED,
                      HANDSHAKE, KEY_UPDATE, NEW_SESSION_TICKET, message, outcome, replacing)

ECHOES, ENDS = "echoes", "ends"
UNEXPECTED_MESSAGE, BAD_RECORD_MAC, RECORD_OVERFLOW, ILLEGAL_PARAMETER, DECODE_ERROR = 10, 20, 22, 47, 50
HANDSHAKE_FAILURE = 40
DECRYPT_ERROR, PROTOCOL_VERSION, INTERNAL_ERROR, NO_RENEGOTIATION = 51, 70, 80, 100
USER_CANCELED = 90
LONGEST = 1 << 14


def echo(client):
    return client.echo()


def putting(kind, content, times=1):
    """Records after the handshake; then an echo, which the server has no need to get to."""
    def act(client):
        client.put(kind, content, times)
        return client.echo()
    return act


def plain(content):
    """Bytes that are not encrypted, after the handshake."""
    def act(client):
        client.tcp.sendall(content)
        return client.echo()
    return act


def finishing(parts):
    return replacing(HANDSHAKE, FINISHED, parts)


def at_the_end_of_the_handshake(minor):
    """(name, outcome, act, replace) for both versions."""
    # OpenSSL has in TLS 1.2 no other record between ChangeCipherSpec and Finished.
    def between(outcome_there):
        return UNEXPECTED_MESSAGE if minor == 2 else outcome_there
    def once(name, outcome_there, parts):
        return name, outcome_there, echo, finishing(parts)
    yield once("a Finished in records of 1 byte", ECHOES,
               lambda text: [(HANDSHAKE, text[i:i + 1]) for i in range(len(text))])
    yield once("a Finished in two records", ECHOES, lambda text: [(HANDSHAKE, text[:5]), (HANDSHAKE, text[5:])])
    yield once("a Finished with another value", DECRYPT_ERROR,
               lambda text: [(HANDSHAKE, text[:-1] + bytes([text[-1] ^ 1]))])
    yield once("a Finished that is too short", DECODE_ERROR, lambda text: [(HANDSHAKE, message(text[4:-1], FINISHED))])
    yield once("a Finished that is too long", DECODE_ERROR,
               lambda text: [(HANDSHAKE, message(text[4:] + b"\0", FINISHED))])
    yield once("an empty Finished", DECODE_ERROR, lambda text: [(HANDSHAKE, message(b"", FINISHED))])
    yield once("data in place of the Finished", UNEXPECTED_MESSAGE, lambda text: [(DATA, b"early")])
    yield once("another message in place of the Finished", UNEXPECTED_MESSAGE,
               lambda text: [(HANDSHAKE, message(text[4:], NEW_SESSION_TICKET))])
    # In TLS 1.3 the server has changed its key by then.
    yield once("two Finished", UNEXPECTED_MESSAGE if minor == 2 else BAD_RECORD_MAC,
               lambda text: [(HANDSHAKE, text), (HANDSHAKE, text)])
    yield once("a certificate that was not asked for", UNEXPECTED_MESSAGE,
               lambda text: [(HANDSHAKE, message(bytes(4), CERTIFICATE)), (HANDSHAKE, text)])
    yield once("a warning before the Finished", between(ECHOES),
               lambda text: [(ALERT, bytes([1, USER_CANCELED])), (HANDSHAKE, text)])
    yield once("close_notify in place of the Finished", between(ENDS), lambda text: [(ALERT, bytes([1, CLOSE_NOTIFY]))])
    yield once("a fatal alert in place of the Finished", between(ENDS), lambda text: [(ALERT, bytes([2, 42]))])


def after_the_handshake(minor):
    """(name, outcome, act, replace) for both versions."""
    is_old = minor == 2
    def later(name, outcome_there, act):
        return name, outcome_there, act, None
    yield later("nothing wrong", ECHOES, echo)
    yield later("data of 16 KiB", ECHOES, lambda client: client.echo(bytes(LONGEST)))
    yield later("data in records of 1 byte", ECHOES, lambda client: (
        client.put(DATA, b"x", 2000), len(client.read(min=2000, max=2000)) == 2000)[1])
    yield later("32 empty records of data", ECHOES, putting(DATA, b"", 32))
    yield later("100,000 empty records of data", UNEXPECTED_MESSAGE, putting(DATA, b"", 100_000))
    yield later("a record of data of 16 KiB and a byte", RECORD_OVERFLOW, putting(DATA, bytes(LONGEST + 1)))
    yield later("an alert of a byte", UNEXPECTED_MESSAGE, putting(ALERT, b"\1"))
    yield later("an alert of three bytes", UNEXPECTED_MESSAGE, putting(ALERT, b"\1\0\0"))
    yield later("an empty alert", UNEXPECTED_MESSAGE, putting(ALERT, b""))
    yield later("an alert of no level", ILLEGAL_PARAMETER if is_old else ENDS, putting(ALERT, bytes([7, 42])))
    yield later("four warnings", ECHOES, putting(ALERT, bytes([1, USER_CANCELED]), 4))
    yield later("a flood of warnings", UNEXPECTED_MESSAGE, putting(ALERT, bytes([1, USER_CANCELED]), 100_000))
    yield later("a fatal alert", ENDS, putting(ALERT, bytes([2, 80])))
    yield later("close_notify 1,000 times", CLOSE_NOTIFY, lambda client: client.put(ALERT, bytes([1, CLOSE_NOTIFY]), 1000))
    yield later("an unknown message", UNEXPECTED_MESSAGE, putting(HANDSHAKE, message(bytes(4), 99)))
    yield later("a message of 16 MiB", UNEXPECTED_MESSAGE, putting(HANDSHAKE, message(bytes(20), 99, 0xFFFFFF)))
    yield later("half a message", ECHOES if is_old else UNEXPECTED_MESSAGE, putting(HANDSHAKE, b"\x18\0"))
    yield later("a record of an unknown type", UNEXPECTED_MESSAGE, putting(99, b"x"))
    yield later("a Finished again", UNEXPECTED_MESSAGE, putting(HANDSHAKE, message(bytes(12), FINISHED)))
    yield later("garbage in a record", BAD_RECORD_MAC, plain(record(bytes(60), DATA, 0x0303)))
    yield later("garbage without a header", RECORD_OVERFLOW, plain(b"\x17\x03\x03" + b"\xff" * 100))
    yield later("the header of another version", PROTOCOL_VERSION, plain(record(bytes(60), DATA, 0x0201)))
    yield later("an empty plain record", INTERNAL_ERROR if is_old else BAD_RECORD_MAC, plain(record(b"", DATA, 0x0303)))


def of_tls_1_2(_):
    yield "a key exchange that is none", HANDSHAKE_FAILURE, echo, replacing(
        HANDSHAKE, CLIENT_KEY_EXCHANGE, lambda text: [(HANDSHAKE, message(b"", CLIENT_KEY_EXCHANGE))])
    yield "a key that is off the curve", ILLEGAL_PARAMETER, echo, replacing(
        HANDSHAKE, CLIENT_KEY_EXCHANGE,
        lambda text: [(HANDSHAKE, message(text[4:5] + bytes(text[4]), CLIENT_KEY_EXCHANGE))])
    yield "the key exchange in records of 1 byte", ECHOES, echo, replacing(
        HANDSHAKE, CLIENT_KEY_EXCHANGE, lambda text: [(HANDSHAKE, text[i:i + 1]) for i in range(len(text))])
    yield "ChangeCipherSpec before the key exchange", UNEXPECTED_MESSAGE, echo, replacing(
        HANDSHAKE, CLIENT_KEY_EXCHANGE, lambda text: [(CHANGE_CIPHER_SPEC, b"\1"), (HANDSHAKE, text)])
    yield "ChangeCipherSpec of another value", UNEXPECTED_MESSAGE, echo, replacing(
        CHANGE_CIPHER_SPEC, 1, lambda text: [(CHANGE_CIPHER_SPEC, b"\2")])
    yield "ChangeCipherSpec of two bytes", UNEXPECTED_MESSAGE, echo, replacing(
        CHANGE_CIPHER_SPEC, 1, lambda text: [(CHANGE_CIPHER_SPEC, b"\1\1")])
    yield "ChangeCipherSpec twice", INTERNAL_ERROR, echo, replacing(
        CHANGE_CIPHER_SPEC, 1, lambda text: [(CHANGE_CIPHER_SPEC, text), (CHANGE_CIPHER_SPEC, text)])
    yield "a renegotiation", NO_RENEGOTIATION, putting(HANDSHAKE, message(bytes(60), 1)), None
    yield "ChangeCipherSpec after the handshake", UNEXPECTED_MESSAGE, putting(CHANGE_CIPHER_SPEC, b"\1"), None


def updating(times, asks):
    def act(client):
        for _ in range(times):
            client.update_key(asks)
        return client.echo()
    return act


def of_tls_1_3(is_long):
    yield "a key update", ECHOES, updating(1, False), None
    updates = 10_000 if is_long else 500
    yield f"{updates:,} key updates", ECHOES, updating(updates, False), None
    yield f"{updates // 10:,} key updates that ask for one", ECHOES, updating(updates // 10, True), None
    yield "a key update of no kind", ILLEGAL_PARAMETER, putting(HANDSHAKE, message(b"\7", KEY_UPDATE)), None
    yield "a key update that is too short", DECODE_ERROR, putting(HANDSHAKE, message(b"", KEY_UPDATE)), None
    yield "a key update that is too long", ILLEGAL_PARAMETER, putting(HANDSHAKE, message(b"\0\0", KEY_UPDATE)), None
    yield "two key updates in a record", UNEXPECTED_MESSAGE, putting(HANDSHAKE, message(b"\0", KEY_UPDATE) * 2), None
    yield "a second hello", UNEXPECTED_MESSAGE, putting(HANDSHAKE, message(bytes(60), 1)), None
    yield "ChangeCipherSpec after the handshake", UNEXPECTED_MESSAGE, plain(record(b"\1", CHANGE_CIPHER_SPEC, 0x0303)), None
    yield "ChangeCipherSpec of another value", ILLEGAL_PARAMETER, echo, replacing(
        CHANGE_CIPHER_SPEC, 1, lambda text: [(CHANGE_CIPHER_SPEC, b"\2")])
    yield "a ticket from the client", UNEXPECTED_MESSAGE, putting(HANDSHAKE, message(bytes(20), NEW_SESSION_TICKET)), None
    yield "an empty record of a handshake", UNEXPECTED_MESSAGE, putting(HANDSHAKE, b""), None
    yield "a plain alert", UNEXPECTED_MESSAGE, plain(record(b"\1\0", ALERT, 0x0303)), None


def after_an_answer(is_long):
    """All of them, as (name, outcome, how)."""
    for minor, own in ((2, of_tls_1_2), (3, of_tls_1_3)):
        for cases in (at_the_end_of_the_handshake(minor), after_the_handshake(minor), own(is_long)):
            for name, wanted, act, replace in cases:
                yield f"1.{minor}: {name}", wanted, (
                    lambda server, minor=minor, act=act, replace=replace: outcome(server, minor, act, replace))
