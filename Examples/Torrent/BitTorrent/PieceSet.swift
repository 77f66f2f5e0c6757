// SPDX-License-Identifier: Apache-2.0

/// Which pieces a peer, or this torrent, has.
package struct PieceSet: Equatable, Sendable {
  package let pieceCount: Int
  package private(set) var count = 0
  private var bytes: [UInt8]

  package init(pieceCount: Int) {
    self.pieceCount = pieceCount
    bytes = [UInt8](repeating: 0, count: Self.byteCount(pieceCount))
  }

  /// Reads a bit field, the first piece in the highest bit; nil when it has another length. Bits beyond the end count
  /// for nothing.
  package init?(bitfield: [UInt8], pieceCount: Int) {
    guard bitfield.count == Self.byteCount(pieceCount) else { return nil }
    self.pieceCount = pieceCount
    bytes = bitfield
    if pieceCount % 8 != 0, let last = bytes.indices.last {
      bytes[last] &= 0xff << UInt8(8 - pieceCount % 8)
    }
    count = bytes.reduce(0) { $0 + $1.nonzeroBitCount }
  }

  package static func byteCount(_ pieceCount: Int) -> Int {
    (pieceCount + 7) / 8
  }

  package var bitfield: [UInt8] {
    bytes
  }

  package var isComplete: Bool {
    count == pieceCount
  }

  package func contains(_ piece: Int) -> Bool {
    (0..<pieceCount).contains(piece) && bytes[piece / 8] & Self.mask(piece) != 0
  }

  /// Whether there is a piece here that the other lacks.
  package func hasMore(than other: PieceSet) -> Bool {
    zip(bytes, other.bytes).contains { $0 & ~$1 != 0 }
  }

  /// Returns whether the piece is new, and there is such a one.
  @discardableResult
  package mutating func insert(_ piece: Int) -> Bool {
    guard (0..<pieceCount).contains(piece), !contains(piece) else { return false }
    bytes[piece / 8] |= Self.mask(piece)
    count += 1
    return true
  }

  private static func mask(_ piece: Int) -> UInt8 {
    0x80 >> UInt8(piece % 8)
  }
}
