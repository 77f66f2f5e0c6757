// SPDX-License-Identifier: Apache-2.0

/// Chooses which blocks to ask which peer for, and knows what is underway.
///
/// Pieces that are underway come first, so that they can be checked and passed on soon; then the one that the fewest
/// peers have. When every block is on its way, peers are asked for what others owe: the end would otherwise wait for
/// the slowest of all.
package struct PiecePicker {
  package enum Receipt: Equatable {
    /// It was not requested, or it is there already.
    case unwanted
    /// To be kept; these others were asked for it, too.
    case block(alsoAsked: [PeerNumber])
  }

  struct BlockState {
    var askedOf: [PeerNumber] = []
    var receivedFrom: PeerNumber?
  }

  struct Underway {
    var blocks: [BlockState]
    /// Of a piece that was wrong before, all blocks come from one peer, so that it is known who is to blame.
    var isFromOne = false
    var source: PeerNumber?

    var isComplete: Bool {
      blocks.allSatisfy { $0.receivedFrom != nil }
    }
  }

  /// How many peers owe the same block at most.
  private static let mostAskedOf = 3

  package let layout: PieceLayout
  /// The pieces that are there and right.
  package private(set) var have: PieceSet
  private var availability: [Int32]
  private var underway: [Int: Underway] = [:]
  /// All blocks are there, but they are not checked yet.
  private var unchecked: [Int: Underway] = [:]
  private var blame = Blame()

  package init(layout: PieceLayout, have: PieceSet) {
    self.layout = layout
    self.have = have
    availability = [Int32](repeating: 0, count: layout.pieceCount)
  }

  // MARK: - What peers have

  package mutating func addPiece(_ piece: Int) {
    guard availability.indices.contains(piece) else { return }
    availability[piece] += 1
  }

  package mutating func add(_ pieces: PieceSet) {
    for piece in availability.indices where pieces.contains(piece) {
      availability[piece] += 1
    }
  }

  package mutating func remove(_ pieces: PieceSet) {
    for piece in availability.indices where pieces.contains(piece) {
      availability[piece] -= 1
    }
  }

  // MARK: - Asking

  /// The next block to ask a peer for; nil when it has nothing that is worth it.
  package mutating func next(for peer: PeerNumber, having pieces: PieceSet) -> Block? {
    if let block = freeBlock(for: peer, having: pieces) {
      return ask(peer, for: block)
    }
    if let piece = rarestPiece(in: pieces) {
      begin(piece)
      return freeBlock(for: peer, having: pieces).flatMap { ask(peer, for: $0) }
    }
    guard underway.count + unchecked.count + have.count == layout.pieceCount else { return nil }
    return blockOfOthers(for: peer, having: pieces).flatMap { ask(peer, for: $0) }
  }

  private mutating func begin(_ piece: Int) {
    let blocks = [BlockState](repeating: BlockState(), count: layout.blockCount(ofPiece: piece))
    underway[piece] = Underway(blocks: blocks, isFromOne: blame.suspects(in: piece))
  }

  private mutating func ask(_ peer: PeerNumber, for block: Block) -> Block? {
    guard let number = layout.number(of: block) else { return nil }
    underway[block.piece]?.blocks[number].askedOf.append(peer)
    if underway[block.piece]?.isFromOne == true {
      underway[block.piece]?.source = peer
    }
    return block
  }

  private func freeBlock(for peer: PeerNumber, having pieces: PieceSet) -> Block? {
    for (piece, state) in underway where pieces.contains(piece) && (state.source ?? peer) == peer {
      if let number = state.blocks.firstIndex(where: { $0.askedOf.isEmpty && $0.receivedFrom == nil }) {
        return layout.block(number, ofPiece: piece)
      }
    }
    return nil
  }

  private func rarestPiece(in pieces: PieceSet) -> Int? {
    // From anywhere on, so that not all peers fetch the same ones of equally rare pieces.
    let start = Int.random(in: 0..<layout.pieceCount)
    var best: Int?
    for step in 0..<layout.pieceCount {
      let piece = (start + step) % layout.pieceCount
      guard pieces.contains(piece), !have.contains(piece), underway[piece] == nil, unchecked[piece] == nil,
        availability[piece] < best.map({ availability[$0] }) ?? .max
      else { continue }
      best = piece
    }
    return best
  }

  private func blockOfOthers(for peer: PeerNumber, having pieces: PieceSet) -> Block? {
    for (piece, state) in underway where pieces.contains(piece) && !state.isFromOne {
      let number = state.blocks.firstIndex { block in
        block.receivedFrom == nil && block.askedOf.count < Self.mostAskedOf && !block.askedOf.contains(peer)
      }
      if let number {
        return layout.block(number, ofPiece: piece)
      }
    }
    return nil
  }

  // MARK: - Results

  /// A peer has sent a block.
  package mutating func receive(_ block: Block, from peer: PeerNumber) -> Receipt {
    guard let number = layout.number(of: block), let state = underway[block.piece]?.blocks[number],
      state.receivedFrom == nil, state.askedOf.contains(peer)
    else { return .unwanted }
    underway[block.piece]?.blocks[number] = BlockState(receivedFrom: peer)
    return .block(alsoAsked: state.askedOf.filter { $0 != peer })
  }

  /// Whether all blocks of a piece have come; it is to be checked then, which this says once.
  package mutating func takeToCheck(_ piece: Int) -> Bool {
    guard let state = underway[piece], state.isComplete else { return false }
    unchecked[piece] = state
    underway[piece] = nil
    return true
  }

  /// A peer will not send what it was asked for: it has left, or serves us no more.
  package mutating func release(_ peer: PeerNumber) {
    for piece in Array(underway.keys) {
      if underway[piece]?.source == peer {
        // What the next one adds would make it unclear again whose fault it is.
        underway[piece] = nil
        continue
      }
      guard let state = underway[piece] else { continue }
      for number in state.blocks.indices where state.blocks[number].askedOf.contains(peer) {
        underway[piece]?.blocks[number].askedOf.removeAll { $0 == peer }
      }
    }
  }

  /// A piece was checked.
  ///
  /// - Parameter blockHashes: of its blocks in order; needed where it is wrong, and where it was before.
  /// - Returns: who has sent what is wrong.
  package mutating func didCheck(_ piece: Int, isRight: Bool, blockHashes: [SHA1Hash]) -> Set<PeerNumber> {
    guard let state = unchecked.removeValue(forKey: piece) else { return [] }
    guard isRight else {
      return blame.pieceIsWrong(piece, sources: state.blocks.map(\.receivedFrom), blockHashes: blockHashes)
    }
    have.insert(piece)
    return blame.pieceIsRight(piece, blockHashes: blockHashes)
  }

  /// Whether ``didCheck(_:isRight:blockHashes:)`` wants hashes also where the piece is right.
  package func wantsBlockHashes(of piece: Int) -> Bool {
    blame.suspects(in: piece)
  }
}

/// One connection; none gets the number of another.
package typealias PeerNumber = Int
