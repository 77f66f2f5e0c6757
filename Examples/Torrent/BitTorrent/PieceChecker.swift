// SPDX-License-Identifier: Apache-2.0

/// Hashes what is on disk, away from the loop: a big piece would hold up all peers.
enum PieceChecker {
  /// Read at once.
  private static let sliceLength = 1 << 20

  /// What is there of a torrent when the program starts.
  struct Census: Sendable {
    var pieces: PieceSet
    /// The pieces for which there were bytes to look at.
    var checked: Int
  }

  struct Verdict: Sendable {
    var piece: Int
    var isRight: Bool
    var blockHashes: [SHA1Hash]
  }

  /// Checks all pieces for which there are bytes. Gives up when the task is cancelled.
  static func takeCensus(_ metainfo: Metainfo, folder: String) -> Result<Census, StorageError> {
    let storage = Storage(metainfo: metainfo, folder: folder)
    var census = Census(pieces: PieceSet(pieceCount: metainfo.layout.pieceCount), checked: 0)
    do throws(StorageError) {
      for piece in 0..<metainfo.layout.pieceCount where !Task.isCancelled {
        guard storage.mayHold(metainfo.layout.range(ofPiece: piece)) else { continue }
        census.checked += 1
        if try isRight(piece, of: metainfo, in: storage) {
          census.pieces.insert(piece)
        }
      }
      return .success(census)
    } catch {
      return .failure(error)
    }
  }

  /// Checks one piece; hashes its blocks, too, where it is wrong or they are asked for.
  static func check(
    _ piece: Int,
    of metainfo: Metainfo,
    folder: String,
    wantsBlockHashes: Bool
  ) -> Result<Verdict, StorageError> {
    let storage = Storage(metainfo: metainfo, folder: folder)
    do throws(StorageError) {
      var verdict = Verdict(
        piece: piece,
        isRight: try isRight(piece, of: metainfo, in: storage),
        blockHashes: []
      )
      if !verdict.isRight || wantsBlockHashes {
        for number in 0..<metainfo.layout.blockCount(ofPiece: piece) {
          let block = metainfo.layout.block(number, ofPiece: piece)
          let offset = metainfo.layout.offset(of: block)
          let bytes = try storage.read(offset..<offset + block.length) ?? []
          verdict.blockHashes.append(SHA1Hash(of: bytes))
        }
      }
      return .success(verdict)
    } catch {
      return .failure(error)
    }
  }

  private static func isRight(_ piece: Int, of metainfo: Metainfo, in storage: Storage) throws(StorageError)
    -> Bool
  {
    let range = metainfo.layout.range(ofPiece: piece)
    var hasher = SHA1Hash.Hasher()
    for start in stride(from: range.lowerBound, to: range.upperBound, by: sliceLength) {
      guard let bytes = try storage.read(start..<min(start + sliceLength, range.upperBound)) else {
        return false
      }
      hasher.update(bytes)
    }
    return hasher.finish() == metainfo.pieceHashes[piece]
  }
}
