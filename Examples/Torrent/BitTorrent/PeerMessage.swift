// SPDX-License-Identifier: Apache-2.0

/// What peers say to each other after the handshake.
package enum PeerMessage: Equatable, Sendable {
  case keepAlive
  case choke
  case unchoke
  case interested
  case notInterested
  case have(Int)
  case bitfield([UInt8])
  case request(Block)
  case piece(Int, begin: Int, data: [UInt8])
  case cancel(Block)

  /// The first byte of a message.
  enum Kind: UInt8 {
    case choke = 0
    case unchoke = 1
    case interested = 2
    case notInterested = 3
    case have = 4
    case bitfield = 5
    case request = 6
    case piece = 7
    case cancel = 8

    var name: String {
      self == .notInterested ? "not interested" : "\(self)"
    }
  }

  package var encoded: [UInt8] {
    switch self {
    case .keepAlive: [0, 0, 0, 0]
    case .choke: Self.encode(.choke)
    case .unchoke: Self.encode(.unchoke)
    case .interested: Self.encode(.interested)
    case .notInterested: Self.encode(.notInterested)
    case .have(let piece): Self.encode(.have, [piece])
    case .bitfield(let bytes): Self.encode(.bitfield, [], bytes)
    case .request(let block): Self.encode(.request, [block.piece, block.begin, block.length])
    case .piece(let piece, let begin, let data): Self.encode(.piece, [piece, begin], data)
    case .cancel(let block): Self.encode(.cancel, [block.piece, block.begin, block.length])
    }
  }

  private static func encode(_ kind: Kind, _ numbers: [Int] = [], _ data: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(5 + 4 * numbers.count + data.count)
    append(1 + 4 * numbers.count + data.count, to: &bytes)
    bytes.append(kind.rawValue)
    for number in numbers {
      append(number, to: &bytes)
    }
    bytes += data
    return bytes
  }

  private static func append(_ number: Int, to bytes: inout [UInt8]) {
    let number = UInt32(clamping: number)
    bytes += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
  }
}

/// What both sides begin with.
package struct Handshake: Equatable, Sendable {
  /// 19, and the name of the protocol.
  package static let prefix: [UInt8] = [19] + Array("BitTorrent protocol".utf8)
  /// Up to the info hash, upon which a peer is answered.
  package static let mainLength = 48
  package static let length = 68

  package var infoHash: SHA1Hash
  package var peerID: [UInt8]

  package init(infoHash: SHA1Hash, peerID: [UInt8]) {
    self.infoHash = infoHash
    self.peerID = peerID
  }

  package var encoded: [UInt8] {
    Self.prefix + [UInt8](repeating: 0, count: 8) + infoHash.bytes + peerID
  }
}
