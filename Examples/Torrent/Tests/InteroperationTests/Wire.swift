// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// One end of BitTorrent's peer wire protocol, word by word: it sends what the test says, right or wrong.
final class Wire {
  enum Kind: UInt8 {
    case choke, unchoke, interested, notInterested, have, bitfield, request, piece, cancel
  }

  struct Message: Equatable {
    var kind: UInt8
    var payload: [UInt8]
  }

  let connection: Connection

  init(_ connection: Connection) {
    self.connection = connection
  }

  /// A connection to a peer that listens there.
  init(to port: UInt16) throws {
    guard let connection = Connection(port: port) else { throw UnexpectedOutput(line: "nobody at \(port)") }
    self.connection = connection
  }

  static func randomID() -> [UInt8] {
    (0..<20).map { _ in UInt8.random(in: 33..<127) }
  }

  func sendHandshake(_ infoHash: [UInt8], id: [UInt8] = randomID()) {
    connection.send(
      [19] + Array("BitTorrent protocol".utf8) + [UInt8](repeating: 0, count: 8) + infoHash + id
    )
  }

  /// The peer's id; nil when it sends no handshake for this torrent.
  func receiveHandshake(_ infoHash: [UInt8]) -> [UInt8]? {
    let bytes = connection.receive(68)
    guard bytes.count == 68, bytes.starts(with: [19] + Array("BitTorrent protocol".utf8)),
      Array(bytes[28..<48]) == infoHash
    else { return nil }
    return Array(bytes[48...])
  }

  /// - Parameter length: What the message says of its length, where that is not its length.
  @discardableResult
  func send(_ kind: UInt8, _ payload: [UInt8] = [], length: UInt32? = nil) -> Bool {
    connection.send(bigEndian([length ?? UInt32(payload.count + 1)]) + [kind] + payload)
  }

  @discardableResult
  func send(_ kind: Kind, _ payload: [UInt8] = []) -> Bool {
    send(kind.rawValue, payload)
  }

  @discardableResult
  func sendKeepAlive() -> Bool {
    connection.send(bigEndian([0]))
  }

  @discardableResult
  func sendRequest(_ piece: Int, _ begin: Int, _ length: Int) -> Bool {
    send(.request, bigEndian([UInt32(piece), UInt32(begin), UInt32(length)]))
  }

  @discardableResult
  func sendPiece(_ block: Block, _ bytes: some Collection<UInt8>) -> Bool {
    send(.piece, bigEndian([UInt32(block.piece), UInt32(block.begin)]) + bytes)
  }

  /// Says that it has all pieces, and gives them.
  func offerEverything(pieceCount: Int) {
    var bits = [UInt8](repeating: 0, count: (pieceCount + 7) / 8)
    for piece in 0..<pieceCount { bits[piece / 8] |= 0x80 >> (piece % 8) }
    send(.bitfield, bits)
    send(.unchoke)
  }

  /// The next message that is not a keep-alive; nil at the end.
  func receive() -> Message? {
    while true {
      let length = connection.receive(4)
      guard length.count == 4 else { return nil }
      let count = length.reduce(0) { $0 << 8 | Int($1) }
      guard count > 0 else { continue }
      let message = connection.receive(count)
      guard message.count == count else { return nil }
      return Message(kind: message[0], payload: Array(message[1...]))
    }
  }

  /// The next message of that kind.
  func receive(_ kind: Kind) -> Message? {
    while let message = receive() {
      if message.kind == kind.rawValue { return message }
    }
    return nil
  }
}

func bigEndian(_ numbers: [UInt32]) -> [UInt8] {
  numbers.flatMap { number in (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } }
}
