// SPDX-License-Identifier: Apache-2.0

import Testing

/// What a client sends, and the statuses of all that the server answers to that and to a proper request behind it.
struct HTTPCase: CustomTestStringConvertible, Sendable {
  var testDescription: String
  var text: String
  var statuses: [Int]

  /// A request that is refused; what follows is not answered.
  static func refused(_ status: Int, _ name: String, _ text: String) -> HTTPCase {
    HTTPCase(testDescription: name, text: text, statuses: [status])
  }

  /// A request that is refused for one of its fields.
  static func field(_ status: Int, _ name: String, _ field: String, _ rest: String = "") -> HTTPCase {
    refused(status, name, "POST / HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n\(rest)")
  }

  /// A request that is refused for the lines of its content.
  static func chunks(_ status: Int, _ name: String, _ chunks: String) -> HTTPCase {
    refused(status, name, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)")
  }

  /// A request that is answered once, as is the one behind it.
  static func served(_ name: String, _ text: String) -> HTTPCase {
    HTTPCase(testDescription: name, text: text, statuses: [200, 200])
  }

  static func served(_ name: String, field: String, _ rest: String = "") -> HTTPCase {
    served(name, "POST / HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n\(rest)")
  }

  static let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
  private static let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
  private static let many = String(repeating: "9", count: 100)

  static let all = framing + fields + hosts + requestLines + chunkedContents + tooLong + proper

  static let framing: [HTTPCase] = [
    .field(400, "A space before the colon of a length", "Content-Length : \(hidden.utf8.count)", hidden),
    .field(400, "A tab before the colon of a coding", "Transfer-Encoding\t: chunked", "0\r\n\r\n"),
    .field(
      400,
      "Two lengths that differ",
      "Content-Length: 0\r\nContent-Length: \(hidden.utf8.count)",
      hidden
    ),
    .field(400, "Two lengths in one field", "Content-Length: 5, 6", "hello"),
    .field(400, "A length and a coding", "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    .field(400, "A coding and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
    .field(400, "A length with a sign", "Content-Length: +5", "hello"),
    .field(400, "A negative length", "Content-Length: -1"),
    .field(400, "A length in hexadecimal", "Content-Length: 0x5", "hello"),
    .field(400, "A length of two words", "Content-Length: 5 5", "hello"),
    .field(400, "A length without digits", "Content-Length:"),
    .field(413, "A length that no integer holds", "Content-Length: \(many)", "hello"),
    .field(413, "A length of 2^64 + 5", "Content-Length: 18446744073709551621", "hello"),
    .field(413, "A length above the limit", "Content-Length: 1048577"),
    .field(501, "An unknown coding below chunked", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
    .field(
      501,
      "The same in two fields",
      "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
      "0\r\n\r\n"
    ),
    .field(400, "Chunked, and not last", "Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    .field(400, "Chunked twice", "Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
    .field(400, "An unknown coding only", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
    .field(400, "A coding with a parameter", "Transfer-Encoding: chunked;q=1", "0\r\n\r\n"),
    .field(400, "A coding in quotes", "Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
    .field(400, "An empty coding", "Transfer-Encoding:", "0\r\n\r\n"),
    .field(400, "A vertical tab before chunked", "Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"),
    .refused(400, "A coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
  ]

  static let fields: [HTTPCase] = [
    .field(400, "A folded field", "X: a\r\n Content-Length: 5", "hello"),
    .refused(400, "A blank before the first field", "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"),
    .field(400, "A bare CR in a value", "X: a\rContent-Length: 5", "hello"),
    .field(400, "A bare CR before the CRLF", "X: a\r"),
    .field(400, "A bare LF in place of a CRLF", "X: a\nContent-Length: 5", "hello"),
    .refused(400, "A bare LF for the last line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    .field(400, "A NUL in a value", "X: a\0b"),
    .field(400, "A NUL in a name", "X\0: a"),
    .field(400, "A DEL in a value", "X: \u{7f}"),
    .field(400, "A field without a colon", "X"),
    .field(400, "A field without a name", ": a"),
    .field(400, "A name with a bracket", "X(y): a"),
    .field(400, "A name with a letter beyond ASCII", "Xé: a"),
    .field(417, "An expectation that is unknown", "Expect: 200-ok"),
  ]

  static let hosts: [HTTPCase] =
    [
      .refused(400, "No host in HTTP/1.1", "GET / HTTP/1.1\r\n\r\n"),
      .refused(400, "Two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
      .refused(400, "The same host twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
      .refused(400, "Two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
      .refused(400, "No host beside an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n"),
    ]
    + [
      "", "a, b", "a,b", "a b", "a/b", "user@a", "a:b", "a:99999", "a:1:2", "[::1", "[a]", "::1", "a\"",
      "[::1]x",
    ].map {
      .refused(400, "A host '\($0)'", "GET / HTTP/1.1\r\nHost: \($0)\r\n\r\n")
    }

  static let requestLines: [HTTPCase] =
    [
      ("GET /", 400), ("GET  / HTTP/1.1", 400), (" GET / HTTP/1.1", 400), ("GET / HTTP/1.1 ", 400),
      ("GET\t/ HTTP/1.1", 400), ("GET / x HTTP/1.1", 400), ("G@T / HTTP/1.1", 400), ("GET / HTTP/1.10", 400),
      ("GET / http/1.1", 400), ("GET / HTTP/11", 400), ("GET / HTTP/1.x", 400), ("GET / XTTP/1.1", 400),
      ("GET / HTTP/2.0", 505), ("GET / HTTP/3.0", 505), ("GET / HTTP/0.9", 505), ("PRI * HTTP/2.0", 505),
      ("CONNECT a:80 HTTP/1.1", 501), ("get / HTTP/1.1", 501), ("BREW / HTTP/1.1", 501),
      ("GET * HTTP/1.1", 400), ("GET a HTTP/1.1", 400), ("GET /a#b HTTP/1.1", 400),
      ("GET /\"a\" HTTP/1.1", 400),
      ("GET /%zz HTTP/1.1", 400), ("GET /% HTTP/1.1", 400), ("GET /\0 HTTP/1.1", 400),
      ("GET /\r HTTP/1.1", 400),
      ("GET /é HTTP/1.1", 400), ("GET http:// HTTP/1.1", 400), ("GET http://user@a/ HTTP/1.1", 400),
      ("GET ftp://a/ HTTP/1.1", 400), ("GET http:/a HTTP/1.1", 400), ("GET / HTTP/1.1\r", 400),
    ].map { line, status in
      .refused(status, "The line '\(line)'", "\(line)\r\nHost: a\r\n\r\n")
    } + [
      .refused(400, "Two empty lines before a request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
      .refused(400, "TLS where HTTP is spoken", "\u{16}\u{3}\u{1}\0\u{1}\n"),
    ]

  static let chunkedContents: [HTTPCase] = [
    .chunks(400, "Garbage after a chunk's size", "5 x\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A blank after a chunk's size", "5 \r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A blank before a chunk's size", " 5\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A chunk's size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A chunk's size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A negative chunk", "-1\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A chunk without a size", "\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A chunk that is longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A chunk that is shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A bare LF after a chunk's size", "5\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A bare LF in an extension", "5;\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    .chunks(400, "A bare LF after a chunk", "5\r\nhello\n0\r\n\r\n"),
    .chunks(400, "An extension that is too long", "5;a=\(many)\(many)\(many)\r\nhello\r\n0\r\n\r\n"),
    .chunks(413, "A size of 2^64 + 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    .chunks(413, "A size that no integer holds", "\(many)\r\nhello\r\n0\r\n\r\n"),
    .chunks(413, "A size above the limit", "100001\r\n"),
    .chunks(400, "A trailer with a space before its colon", "0\r\nX : a\r\n\r\n"),
    .chunks(400, "A folded trailer", "0\r\nX: a\r\n b\r\n\r\n"),
    .chunks(400, "A trailer without a colon", "0\r\nX\r\n\r\n"),
    .chunks(
      413,
      "Small chunks that are too many",
      String(repeating: "1;\(many)\r\nx\r\n", count: 11_000) + "0\r\n\r\n"
    ),
  ]

  static let tooLong: [HTTPCase] = [
    .refused(
      414,
      "A target of 8 KiB",
      "GET /\(String(repeating: "a", count: 8192)) HTTP/1.1\r\nHost: a\r\n\r\n"
    ),
    .refused(414, "A line without an end", String(repeating: "a", count: 9000)),
    .field(431, "A field of 16 KiB", "X: \(String(repeating: "a", count: 16384))"),
    .field(431, "101 fields", Array(repeating: "X: a", count: 100).joined(separator: "\r\n")),
    .chunks(431, "A trailer of 16 KiB", "0\r\nX: \(String(repeating: "a", count: 16384))\r\n\r\n"),
    .chunks(431, "A trailer of 101 fields", "0\r\n" + String(repeating: "X: a\r\n", count: 101) + "\r\n"),
  ]

  static let proper: [HTTPCase] =
    [
      .served("A content with a length", field: "Content-Length: \(hidden.utf8.count)", hidden),
      .served("A length with leading zeros", field: "Content-Length: 0005", "hello"),
      .served("A content that is empty", field: "Content-Length: 0"),
      .served(
        "A content of the limit",
        field: "Content-Length: 1048576",
        String(repeating: "x", count: 1 << 20)
      ),
      .served(
        "A content in chunks",
        field: "Transfer-Encoding: chunked",
        "5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n"
      ),
      .served("A coding in capitals", field: "TRANSFER-ENCODING: Chunked", "0\r\n\r\n"),
      .served(
        "A chunk that looks like a request",
        field: "Transfer-Encoding: chunked",
        "\(String(hidden.utf8.count, radix: 16))\r\n\(hidden)\r\n0\r\n\r\n"
      ),
      .served(
        "An extension and a trailer",
        field: "Transfer-Encoding: chunked",
        "5;a=\"b\" ;c\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"
      ),
      .served("An empty line before the request", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
      .served("Blanks around a value", field: "Content-Length: \t 5 \t", "hello"),
      .served("A value beyond ASCII", field: "X: é"),
      .served("100 fields", field: Array(repeating: "X: a", count: 99).joined(separator: "\r\n")),
      .served("A later HTTP/1", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
      .served("An absolute target", "GET http://b.example:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
      .served("An absolute target without a path", "GET HTTPS://[::1]:8443?y HTTP/1.1\r\nHost: a\r\n\r\n"),
      .served(
        "A target with everything in it",
        "GET /a-._~!$&'()*+,;=:@%2F?b/?c HTTP/1.1\r\nHost: a\r\n\r\n"
      ),
    ]
    + ["a.example", "a:80", "a:", "127.0.0.1:4243", "[::1]", "[2001:db8::7]:80"].map {
      .served("A host '\($0)'", "GET / HTTP/1.1\r\nHost: \($0)\r\n\r\n")
    }
}
