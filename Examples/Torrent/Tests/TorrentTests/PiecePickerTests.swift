// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import BitTorrent

@Suite("Piece picker")
struct PiecePickerTests {
  /// Three pieces of two blocks, the last of which is shorter.
  private static let layout = PieceLayout(totalLength: 5 * 16_384 + 100, pieceLength: 32_768)
  private let layout: PieceLayout
  private let all: PieceSet
  private var picker: PiecePicker

  init() throws {
    layout = try #require(Self.layout)
    all = try #require(PieceSet(bitfield: [0b1110_0000], pieceCount: 3))
    picker = PiecePicker(layout: layout, have: PieceSet(pieceCount: 3))
  }

  private func only(_ pieces: Int...) -> PieceSet {
    var set = PieceSet(pieceCount: 3)
    for piece in pieces {
      set.insert(piece)
    }
    return set
  }

  /// All that a peer is asked for until there is nothing more.
  private mutating func askForAll(_ peer: PeerNumber, having pieces: PieceSet) -> [Block] {
    var blocks: [Block] = []
    while let block = picker.next(for: peer, having: pieces), blocks.count < 100 {
      blocks.append(block)
    }
    return blocks
  }

  private mutating func ask(_ peer: PeerNumber, having pieces: PieceSet) throws -> Block {
    let block = picker.next(for: peer, having: pieces)
    return try #require(block)
  }

  private mutating func receiveAll(_ blocks: [Block], from peer: PeerNumber) {
    for block in blocks {
      _ = picker.receive(block, from: peer)
    }
  }

  private func hashes(_ texts: String...) -> [SHA1Hash] {
    texts.map { SHA1Hash(of: Array($0.utf8)) }
  }

  @Test("A peer is asked for every block once, a piece after the other")
  mutating func everything() {
    let blocks = askForAll(1, having: all)
    #expect(blocks.count == 6)
    #expect(Set(blocks).count == 6)
    #expect(Set(blocks.map(\.piece)).count == 3)
    for index in stride(from: 0, to: 6, by: 2) {
      #expect(blocks[index].piece == blocks[index + 1].piece)
    }
    #expect(blocks.contains(Block(piece: 2, begin: 16_384, length: 100)))
  }

  @Test("A peer is asked only for what it has")
  mutating func having() {
    #expect(askForAll(1, having: only(1)).map(\.piece) == [1, 1])
    #expect(askForAll(2, having: PieceSet(pieceCount: 3)) == [])
  }

  @Test("The piece that the fewest have comes first")
  mutating func rarest() throws {
    picker.add(all)
    picker.add(only(0, 2))
    #expect(picker.next(for: 1, having: all)?.piece == 1)
    picker = PiecePicker(layout: layout, have: PieceSet(pieceCount: 3))
    picker.add(all)
    picker.addPiece(0)
    picker.addPiece(1)
    #expect(picker.next(for: 1, having: all)?.piece == 2)
    picker = PiecePicker(layout: layout, have: PieceSet(pieceCount: 3))
    picker.add(all)
    picker.add(only(0, 1))
    picker.add(only(1, 2))
    picker.remove(only(1, 2))
    #expect(picker.next(for: 1, having: all)?.piece == 2)
  }

  @Test("What is there is not asked for")
  mutating func resumed() {
    picker = PiecePicker(layout: layout, have: only(0, 1))
    #expect(askForAll(1, having: all).map(\.piece) == [2, 2])
  }

  @Test("What a leaving peer owed is requested from others")
  mutating func release() {
    let blocks = askForAll(1, having: all)
    receiveAll(Array(blocks.prefix(1)), from: 1)
    picker.release(1)
    #expect(Set(askForAll(2, having: all)) == Set(blocks.dropFirst()))
  }

  @Test(
    "At the end of a download several peers are asked for one block, and the request is cancelled when it has come"
  )
  mutating func endGame() {
    // All asked for, but by one peer only: the others help.
    let first = askForAll(1, having: all)
    let second = askForAll(2, having: all)
    #expect(Set(second) == Set(first))
    let third = askForAll(3, having: only(1))
    #expect(third.count == 2)
    #expect(askForAll(4, having: only(1)) == [])
    #expect(picker.receive(third[0], from: 3) == .block(alsoAsked: [1, 2]))
    #expect(picker.receive(third[0], from: 1) == .unwanted)
  }

  @Test("While there are pieces without a request, no block is requested twice")
  mutating func noEarlyEndGame() {
    #expect(askForAll(1, having: only(0)).count == 2)
    #expect(askForAll(2, having: only(0)) == [])
  }

  @Test("A block without a request, or requested from another peer, is unwanted")
  mutating func unwanted() throws {
    let block = try ask(1, having: all)
    #expect(picker.receive(block, from: 2) == .unwanted)
    #expect(picker.receive(Block(piece: block.piece, begin: 1, length: 16_384), from: 1) == .unwanted)
    #expect(picker.receive(Block(piece: block.piece, begin: block.begin, length: 1), from: 1) == .unwanted)
    #expect(picker.receive(Block(piece: 99, begin: 0, length: 16_384), from: 1) == .unwanted)
    #expect(picker.receive(block, from: 1) == .block(alsoAsked: []))
    #expect(picker.receive(block, from: 1) == .unwanted)
  }

  @Test("A piece is to be checked once, when it is complete")
  mutating func toCheck() {
    let blocks = askForAll(1, having: only(1))
    receiveAll([blocks[0]], from: 1)
    let early = picker.takeToCheck(1)
    receiveAll([blocks[1]], from: 1)
    let complete = [picker.takeToCheck(1), picker.takeToCheck(1)]
    #expect(!early)
    #expect(complete == [true, false])
    #expect(!picker.have.contains(1))
    #expect(askForAll(1, having: only(1)) == [])
    #expect(picker.didCheck(1, isRight: true, blockHashes: []) == [])
    #expect(picker.have.contains(1))
  }

  @Test("The only sender of a wrong piece is to blame, and the piece is fetched again")
  mutating func soleLiar() {
    receiveAll(askForAll(1, having: only(1)), from: 1)
    #expect(picker.takeToCheck(1) == true)
    #expect(picker.didCheck(1, isRight: false, blockHashes: hashes("a", "b")) == [1])
    #expect(askForAll(2, having: only(1)).count == 2)
  }

  @Test("Of two who sent a wrong piece the one whose block was wrong is to blame, once it is known")
  mutating func oneOfTwo() throws {
    let first = try ask(1, having: only(1))
    let second = try ask(2, having: only(1))
    receiveAll([first], from: 1)
    receiveAll([second], from: 2)
    #expect(picker.takeToCheck(1) == true)
    #expect(picker.didCheck(1, isRight: false, blockHashes: hashes("right", "wrong")) == [])
    #expect(picker.wantsBlockHashes(of: 1))

    // All of it from one peer this time.
    let block = try ask(3, having: only(1))
    #expect(picker.next(for: 2, having: only(1)) == nil)
    let rest = askForAll(3, having: only(1))
    receiveAll([block] + rest, from: 3)
    #expect(picker.takeToCheck(1) == true)
    #expect(picker.didCheck(1, isRight: true, blockHashes: hashes("right", "right")) == [2])
    #expect(!picker.wantsBlockHashes(of: 1))
  }

  @Test("Others do not help with a suspected piece, also not in the end")
  mutating func noEndGameForSuspectedPieces() throws {
    picker = PiecePicker(layout: layout, have: only(0, 2))
    receiveAll([try ask(1, having: all)], from: 1)
    receiveAll([try ask(2, having: all)], from: 2)
    #expect(picker.takeToCheck(1) == true)
    _ = picker.didCheck(1, isRight: false, blockHashes: hashes("a", "b"))
    #expect(askForAll(3, having: all).count == 2)
    #expect(askForAll(4, having: all) == [])
  }

  @Test("When the only sender of a suspected piece leaves, the piece begins again")
  mutating func suspectedPieceChangesHands() throws {
    receiveAll([try ask(1, having: only(1))], from: 1)
    receiveAll([try ask(2, having: only(1))], from: 2)
    #expect(picker.takeToCheck(1) == true)
    _ = picker.didCheck(1, isRight: false, blockHashes: hashes("a", "b"))
    receiveAll([try ask(3, having: only(1))], from: 3)
    picker.release(3)
    let again = askForAll(4, having: only(1))
    #expect(again.count == 2)
    receiveAll(again, from: 4)
    #expect(picker.takeToCheck(1) == true)
    #expect(picker.didCheck(1, isRight: false, blockHashes: hashes("a", "c")) == [4])
  }
}
