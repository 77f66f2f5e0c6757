// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Testing

/// A peer that connects to us and does what it must not, in words of the peer wire protocol.
struct BadPeer: Sendable, CustomTestStringConvertible {
  var testDescription: String
  /// What we say of them; a pattern.
  var reason: String
  var options: [String] = []
  /// Returns when all is said; who is written to is closed by us.
  var act: @Sendable (Wire, Content) throws -> Void

  /// Those who come to a client that has nothing yet.
  static let ofDownloaders = [
    BadPeer("garbage instead of a handshake", "no BitTorrent handshake") { wire, _ in
      wire.connection.send(Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8))
    },
    BadPeer("a handshake that is wrong in its last letter", "no BitTorrent handshake") { wire, _ in
      wire.connection.send([19] + Array("BitTorrent protocoL".utf8) + [UInt8](repeating: 0, count: 48))
    },
    BadPeer("another torrent", "unknown info hash") { wire, content in
      wire.sendHandshake(content.infoHash.reversed())
    },
    BadPeer("no handshake", "no handshake within 2 seconds", ["--handshake-timeout", "2"]) { _, _ in },
    BadPeer("half a handshake", "no handshake within 1\\.5 seconds", ["--handshake-timeout", "1.5"]) {
      wire,
      _ in
      wire.connection.send([19] + Array("BitTorrent".utf8))
    },
    BadPeer("silence after the handshake", "nothing received for 2 seconds", ["--idle-timeout", "2"]) {
      wire,
      content in
      try wire.greet(content)
    },
    BadPeer("no answer to requests", "no answer to requests for 2 seconds", ["--request-timeout", "2"]) {
      wire,
      content in
      try wire.greet(content)
      wire.offerEverything(pieceCount: content.pieceCount)
      // Busy enough otherwise.
      while wire.receive() != nil, wire.sendKeepAlive() {}
    },
    BadPeer("wrong data", "piece \\d+ has a wrong hash") { wire, content in
      try wire.greet(content)
      wire.offerEverything(pieceCount: content.pieceCount)
      while let message = wire.receive() {
        guard let block = message.request else { continue }
        guard wire.sendPiece(block, [UInt8](repeating: 0x5a, count: block.length)) else { break }
      }
    },
    BadPeer("a message of 200,001 bytes", "message of 200001 bytes") { wire, content in
      try wire.greet(content)
      // The longest that is allowed, of an unknown type.
      wire.send(99, [UInt8](repeating: 0, count: 199_999))
      wire.connection.send(bigEndian([200_001]))
    },
    BadPeer("a message of 4 GiB", "message of 4294967295 bytes") { wire, content in
      try wire.greet(content)
      wire.connection.send(bigEndian([.max]))
    },
    malformed("choke", Wire.Kind.choke, [0]),
    malformed("have", Wire.Kind.have, [0, 0]),
    malformed("have", Wire.Kind.have, bigEndian([33])),
    malformed("bitfield", Wire.Kind.bitfield, [0xff]),
    malformed("request", Wire.Kind.request, bigEndian([0, 0])),
    malformed("piece", Wire.Kind.piece, bigEndian([0])),
    malformed("cancel", Wire.Kind.cancel, [0]),
  ]

  /// A message whose length or number is wrong, for a torrent of 33 pieces.
  private static func malformed(_ name: String, _ kind: Wire.Kind, _ payload: [UInt8]) -> BadPeer {
    BadPeer("a \(name) message with \(payload)", "malformed \(name) message") { wire, content in
      try wire.greet(content)
      wire.send(kind, payload)
    }
  }

  init(
    _ description: String,
    _ reason: String,
    _ options: [String] = [],
    _ act: @escaping @Sendable (Wire, Content) throws -> Void
  ) {
    testDescription = description
    self.reason = reason
    self.options = options
    self.act = act
  }
}

extension Wire {
  /// Handshakes, as one that has come to the other.
  /// - Returns: The other's id.
  @discardableResult
  func greet(_ content: Content, id: [UInt8] = randomID()) throws -> [UInt8] {
    sendHandshake(content.infoHash, id: id)
    guard let id = receiveHandshake(content.infoHash) else { throw UnexpectedOutput(line: "no handshake") }
    return id
  }
}
