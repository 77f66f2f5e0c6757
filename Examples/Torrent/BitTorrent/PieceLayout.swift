// SPDX-License-Identifier: Apache-2.0

/// How the bytes of a torrent are cut into pieces, and these into blocks.
package struct PieceLayout: Hashable, Sendable {
  /// What is asked for at once.
  package static let blockLength = 16384

  package let totalLength: Int
  package let pieceLength: Int
  package let pieceCount: Int

  /// Nil unless both are positive.
  package init?(totalLength: Int, pieceLength: Int) {
    guard totalLength > 0, pieceLength > 0 else { return nil }
    self.totalLength = totalLength
    self.pieceLength = pieceLength
    pieceCount = (totalLength - 1) / pieceLength + 1
  }

  /// Where a piece is; empty when there is no such piece.
  package func range(ofPiece piece: Int) -> Range<Int> {
    guard (0..<pieceCount).contains(piece) else { return 0..<0 }
    let start = piece * pieceLength
    return start..<start + min(pieceLength, totalLength - start)
  }

  package func blockCount(ofPiece piece: Int) -> Int {
    (range(ofPiece: piece).count + Self.blockLength - 1) / Self.blockLength
  }

  /// The block of a piece with a number from 0 on, which the caller has from ``blockCount(ofPiece:)``.
  package func block(_ number: Int, ofPiece piece: Int) -> Block {
    let begin = number * Self.blockLength
    return Block(
      piece: piece,
      begin: begin,
      length: min(Self.blockLength, range(ofPiece: piece).count - begin)
    )
  }

  /// The number of a block within its piece, if it is one of those that are asked for.
  package func number(of block: Block) -> Int? {
    guard contains(block), block.begin % Self.blockLength == 0 else { return nil }
    let number = block.begin / Self.blockLength
    return self.block(number, ofPiece: block.piece) == block ? number : nil
  }

  /// Whether a stretch that a peer names is there, and not empty.
  package func contains(_ block: Block) -> Bool {
    let length = range(ofPiece: block.piece).count
    return block.begin >= 0 && block.length > 0 && block.begin < length
      && block.length <= length - block.begin
  }

  /// Where in the torrent a block begins.
  package func offset(of block: Block) -> Int {
    block.piece * pieceLength + block.begin
  }
}

/// A stretch of a piece.
package struct Block: Hashable, Sendable {
  package var piece: Int
  package var begin: Int
  package var length: Int

  package init(piece: Int, begin: Int, length: Int) {
    self.piece = piece
    self.begin = begin
    self.length = length
  }
}
