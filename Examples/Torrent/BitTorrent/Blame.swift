// SPDX-License-Identifier: Apache-2.0

/// Finds out who has sent what is wrong.
///
/// When all of a wrong piece is from one peer, that is clear at once. Otherwise the blocks are remembered by their
/// hashes until the piece is right: whose block differs then has sent a wrong one.
struct Blame {
  private struct Suspicion {
    var source: PeerNumber
    var block: Int
    var hash: SHA1Hash
  }

  /// Of how many pieces suspicions are kept.
  private static let mostPieces = 64

  private var suspicions: [Int: [Suspicion]] = [:]

  func suspects(in piece: Int) -> Bool {
    suspicions[piece] != nil
  }

  mutating func pieceIsWrong(
    _ piece: Int,
    sources: [PeerNumber?],
    blockHashes: [SHA1Hash]
  ) -> Set<PeerNumber> {
    let all = Set(sources.compactMap(\.self))
    guard all.count > 1 else { return all }
    if suspicions[piece] == nil, suspicions.count < Self.mostPieces {
      suspicions[piece] = zip(sources, blockHashes).enumerated().compactMap { block, origin in
        origin.0.map { Suspicion(source: $0, block: block, hash: origin.1) }
      }
    }
    return []
  }

  mutating func pieceIsRight(_ piece: Int, blockHashes: [SHA1Hash]) -> Set<PeerNumber> {
    let wrong = suspicions.removeValue(forKey: piece)?.filter { suspicion in
      blockHashes.indices.contains(suspicion.block) && blockHashes[suspicion.block] != suspicion.hash
    }
    return Set(wrong?.map(\.source) ?? [])
  }
}
