# SPDX-License-Identifier: Apache-2.0
"""What a client may send wrong before the server has answered, and what the server must answer: the number of an alert,
"answers" for its own first messages, those and an alert, or "ends" for a connection that ends without a byte.

Where the RFCs leave it open, or OpenSSL is more patient than they are, it is what OpenSSL does, and a comment says so."""

from .hello import ALERT, CHANGE_CIPHER_SPEC, DATA, Hello, message, record, vector

ANSWERS, ENDS = "answers", "ends"
UNEXPECTED_MESSAGE, RECORD_OVERFLOW, HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECODE_ERROR = 10, 22, 40, 47, 50
PROTOCOL_VERSION, MISSING_EXTENSION, UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 70, 109, 112, 120
SERVER_NAME, GROUPS, SIGNATURES, ALPN, PADDING, EARLY_DATA, PSK, VERSIONS, COOKIE, MODES, SHARES = (
    0, 10, 13, 16, 21, 42, 41, 43, 44, 45, 51)
FILLER = 0xFFAA  # no extension of this number
LONGEST = 1 << 14


def split(text, size, version=0x0301):
    return b"".join(record(text[place:place + size], version=version) for place in range(0, len(text), size))


def filled(text, size):
    """A ClientHello whose message is of this size, header included."""
    hello = Hello(text)
    return hello.put(FILLER, bytes(size - len(hello.message()) - 4)).message()


def names(*entries):
    return vector(b"".join(bytes([kind]) + vector(name, 2) for kind, name in entries), 2)


def records(text, minor):
    """How it is cut into records, with the ClientHello of one version."""
    for size in (1, 2, 3, 4, 5, 6, 37, 38, 39, len(text) - 1, len(text)):
        yield f"1.{minor}: records of {size} bytes", ANSWERS, split(text, size)
    for size in (255, 256, 257, 511, 512, LONGEST - 1, LONGEST):
        if size > len(text) + 4:
            yield f"1.{minor}: a hello of {size} bytes", ANSWERS, record(filled(text, size))
    yield f"1.{minor}: a hello of 16 KiB in records of 1 byte", ANSWERS, split(filled(text, LONGEST), 1)
    yield f"1.{minor}: a record of 16 KiB and a byte", RECORD_OVERFLOW, record(filled(text, LONGEST + 1))
    yield f"1.{minor}: a hello of 16 KiB and a byte in two records", ANSWERS, split(filled(text, LONGEST + 1), LONGEST)
    yield f"1.{minor}: a hello of 200,000 bytes", ILLEGAL_PARAMETER, split(message(bytes(200_000)), LONGEST)
    # In TLS 1.2 they are looked at after the answer.
    late = UNEXPECTED_MESSAGE if minor == 3 else f"{ANSWERS}, then {UNEXPECTED_MESSAGE}"
    yield f"1.{minor}: two hellos in a record", late, record(text + text)
    yield f"1.{minor}: a hello and a Finished in a record", late, record(text + message(bytes(12), 20))
    # OpenSSL has patience for 32.
    yield f"1.{minor}: an empty record before it", ANSWERS, record(b"") + record(text)
    yield f"1.{minor}: 33 empty records before it", UNEXPECTED_MESSAGE, record(b"") * 33 + record(text)
    yield f"1.{minor}: 100,000 empty records", UNEXPECTED_MESSAGE, record(b"") * 100_000
    yield f"1.{minor}: an alert in the middle of it", UNEXPECTED_MESSAGE, (
        record(text[:50]) + record(b"\1\132", ALERT) + record(text[50:]))
    yield f"1.{minor}: data in the middle of it", UNEXPECTED_MESSAGE, (
        record(text[:50]) + record(b"early", DATA) + record(text[50:]))


def headers(text):
    """What is wrong with the header of the first record, or the message."""
    for length in (0xFFFF, 18433, 18432):
        yield f"a header that says {length} bytes", RECORD_OVERFLOW, record(text, length=length)
    # OpenSSL reads them before it refuses them.
    for length in (16641, 16640, LONGEST + 1, LONGEST):
        yield f"a header that says {length} bytes, and the end", ENDS, record(text, length=length)
    for kind in (0, CHANGE_CIPHER_SPEC, ALERT, DATA, 24, 0x80, 0xFF):
        yield f"a first byte of {kind}", ENDS, record(text, kind)
    yield "a hello of SSL 2", ENDS, b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40)
    yield "HTTP", ENDS, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "a PROXY header", ENDS, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + record(text)
    # OpenSSL sends no alert to what is probably not TLS.
    for version in (0x0000, 0x0200, 0x0400, 0x1603):
        yield f"a record of version {version:#06x}", ENDS, record(text, version=version)
    for version in (0x0300, 0x0301, 0x0303, 0x0304):
        yield f"a record of version {version:#06x}", ANSWERS, record(text, version=version)
    for kind, name in ((0, "HelloRequest"), (2, "ServerHello"), (4, "NewSessionTicket"), (11, "Certificate"),
                       (16, "ClientKeyExchange"), (20, "Finished"), (24, "KeyUpdate"), (99, "unknown message")):
        yield f"a {name} first", UNEXPECTED_MESSAGE, record(message(text[4:], kind))
    yield "a message that is shorter than it says, and the end", ENDS, record(message(text[4:], length=len(text)))
    yield "a message that is longer than it says", DECODE_ERROR, record(message(text[4:], length=len(text) - 5))
    yield "a message of 16 MiB", ILLEGAL_PARAMETER, record(message(text[4:], length=0xFFFFFF))
    for size in (1, 4, 5, 6, 9, 10, 43, 44, len(text)):
        yield f"the end after {size} bytes", ENDS, record(text)[:size]


def fields(text):
    """What is wrong in the ClientHello of TLS 1.3."""
    def hello():
        return Hello(text)
    body = hello().body()
    yield "a session of 33 bytes", DECODE_ERROR, hello().set(session=bytes(33))
    yield "no cipher suite", ILLEGAL_PARAMETER, hello().set(suites=b"")
    yield "one and a half cipher suites", DECODE_ERROR, hello().set(suites=b"\x13\x01\x13")
    yield "no cipher suite in common", HANDSHAKE_FAILURE, hello().set(suites=b"\x00\x2f\xfa\xfa")
    yield "no compression method", DECODE_ERROR, hello().set(compressions=b"")
    yield "compression alone", DECODE_ERROR, hello().set(compressions=b"\1")
    yield "compression beside none, in TLS 1.3", ILLEGAL_PARAMETER, hello().set(compressions=b"\1\0")
    yield "a byte after the extensions", DECODE_ERROR, message(body + b"\0")
    yield "half the extensions", DECODE_ERROR, message(body[:-30])
    yield "an extension twice", ILLEGAL_PARAMETER, hello().set(
        extensions=[*hello().extensions, (SERVER_NAME, names((0, b"www.example.com")))])
    yield "a name twice", DECODE_ERROR, hello().put(SERVER_NAME, names((0, b"a.test"), (0, b"b.test")))
    yield "an empty name, as none", ANSWERS, hello().put(SERVER_NAME, names((0, b"")))
    yield "no name in the list", DECODE_ERROR, hello().put(SERVER_NAME, names())
    yield "a name of another type", DECODE_ERROR, hello().put(SERVER_NAME, names((1, b"a.test")))
    yield "a name with a NUL", UNRECOGNIZED_NAME, hello().put(SERVER_NAME, names((0, b"www.example.com\0.test")))
    yield "a name of 256 bytes", UNRECOGNIZED_NAME, hello().put(SERVER_NAME, names((0, b"a" * 256)))
    yield "a name of 255 bytes", ANSWERS, hello().put(SERVER_NAME, names((0, b"a" * 255)))
    yield "a name that is no name", ANSWERS, hello().put(SERVER_NAME, names((0, b"..\xff*")))
    yield "an empty protocol", DECODE_ERROR, hello().put(ALPN, vector(vector(b"", 1), 2))
    yield "no protocol in the list", DECODE_ERROR, hello().put(ALPN, vector(b"", 2))
    yield "a protocol longer than the list", DECODE_ERROR, hello().put(ALPN, vector(b"\5h2", 2))
    yield "200 unknown protocols", NO_APPLICATION_PROTOCOL, hello().put(ALPN, vector(vector(b"x", 1) * 200, 2))
    yield "no version in the list", PROTOCOL_VERSION, hello().put(VERSIONS, vector(b"", 1))
    yield "TLS 1.1 alone", PROTOCOL_VERSION, hello().put(VERSIONS, vector(b"\3\2", 1))
    yield "TLS 1.1 without the list", PROTOCOL_VERSION, hello().without(VERSIONS).set(version=b"\3\2")
    yield "unknown versions alone", PROTOCOL_VERSION, hello().put(VERSIONS, vector(b"\x7f\x1c\x0a\x0a", 1))
    yield "an odd list of versions", PROTOCOL_VERSION, hello().put(VERSIONS, vector(b"\3\4\3", 1))
    yield "TLS 1.3 without signature algorithms", MISSING_EXTENSION, hello().without(SIGNATURES)
    yield "TLS 1.3 without groups", MISSING_EXTENSION, hello().without(GROUPS)
    yield "TLS 1.3 without key shares", MISSING_EXTENSION, hello().without(SHARES)
    yield "no signature algorithm in common", HANDSHAKE_FAILURE, hello().put(SIGNATURES, vector(b"\xfa\xfa", 2))
    yield "no group in common", HANDSHAKE_FAILURE, (
        hello().put(GROUPS, vector(b"\xfa\xfa", 2)).put(SHARES, vector(b"", 2)))
    yield "no key share, a second hello is asked for", ANSWERS, hello().put(SHARES, vector(b"", 2))
    yield "a key share of a group that is not offered", ILLEGAL_PARAMETER, (
        hello().put(GROUPS, vector(b"\0\x1d", 2)).put(SHARES, vector(b"\0\x17" + vector(bytes(65), 2), 2)))
    yield "a key share that is too short", ILLEGAL_PARAMETER, (
        hello().put(SHARES, vector(b"\0\x1d" + vector(bytes(31), 2), 2)))
    yield "a key share off the curve", ILLEGAL_PARAMETER, (
        hello().put(SHARES, vector(b"\0\x17" + vector(b"\4" + bytes(64), 2), 2)))
    yield "a cookie that was not given", ANSWERS, hello().put(COOKIE, vector(bytes(32), 2))
    psk = vector(vector(b"ticket", 2) + bytes(4), 2)
    yield "a ticket that is none", ANSWERS, hello().put(MODES, b"\1\1").put(PSK, psk + vector(vector(bytes(32), 1), 2))
    # OpenSSL reads binders once it has found a session.
    yield "a ticket without a binder", ANSWERS, hello().put(MODES, b"\1\1").put(PSK, psk + vector(b"", 2))
    yield "a ticket that is not last", ILLEGAL_PARAMETER, (
        hello().put(MODES, b"\1\1").put(PSK, psk + vector(vector(bytes(32), 1), 2)).put(FILLER, b""))
    yield "a ticket without a way of using it", MISSING_EXTENSION, (
        hello().without(MODES).put(PSK, psk + vector(vector(bytes(32), 1), 2)))
    yield "early data without a ticket", ANSWERS, hello().put(EARLY_DATA, b"")
    yield "1,000 unknown extensions", ANSWERS, hello().set(
        extensions=[(0x4000 + number, b"") for number in range(1000)] + hello().extensions)


def before_an_answer(texts):
    """All of them, as (name, outcome, bytes); `texts` are ClientHellos by minor version."""
    for minor, text in texts.items():
        yield from records(text, minor)
    yield from headers(texts[3])
    for name, outcome, hello in fields(texts[3]):
        yield name, outcome, record(hello if isinstance(hello, bytes) else hello.message())
