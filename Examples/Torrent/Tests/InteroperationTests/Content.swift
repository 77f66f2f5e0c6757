// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import ProgramTesting

/// What is exchanged: a file of random bytes in the folder `seed`, with a torrent file that mktorrent made.
struct Content {
  /// How large a file is that real peers exchange: 8 MiB unless TORRENT_TEST_MEBIBYTES says otherwise, and some bytes,
  /// so that its last piece and its last block are shorter than the others.
  static let largeSize = (askedMebibytes ?? 8) << 20 + 12_345
  static let smallSize = 1 << 20 + 12_345
  static let sizeIsAskedFor = askedMebibytes != nil
  private static let askedMebibytes = ProcessInfo.processInfo.environment["TORRENT_TEST_MEBIBYTES"].flatMap {
    Int($0)
  }
  /// How long a transfer of `largeSize` may take before it counts as stuck.
  static let limit: Duration = .seconds(100 + (largeSize >> 20))

  let name = "content.bin"
  let workplace: Workplace
  let bytes: Data
  let pieceLength: Int
  let infoHash: [UInt8]
  /// The paths of the torrent file and of the folder that has all.
  private(set) var torrent: String
  let seed: String

  /// - Parameter pieceBits: Two to the power of it is a piece's length.
  init(size: Int = smallSize, pieceBits: Int = 15) throws {
    workplace = try Workplace()
    pieceLength = 1 << pieceBits
    seed = try workplace.folder("seed")
    let file = FileHandle(forReadingAtPath: "/dev/urandom")
    bytes = try file?.read(upToCount: size) ?? Data()
    try workplace.write(bytes, to: "seed/" + name)
    torrent = workplace.path + "/content.torrent"
    infoHash = try Self.make(torrent, of: seed + "/" + name, ["-l", "\(pieceBits)"])
  }

  var pieceCount: Int { (bytes.count + pieceLength - 1) / pieceLength }

  func range(ofPiece index: Int) -> Range<Int> {
    index * pieceLength..<min((index + 1) * pieceLength, bytes.count)
  }

  /// Whether a folder has the file, whole and right.
  func isComplete(in folder: String) -> Bool {
    sha(ofFile: folder + "/" + name) == Array(Insecure.SHA1.hash(data: bytes))
  }

  /// Which pieces a folder has of it.
  func pieces(in folder: String) -> Set<Int> {
    let there = FileManager.default.contents(atPath: folder + "/" + name) ?? Data()
    return Set(
      (0..<pieceCount).filter {
        let range = range(ofPiece: $0)
        return range.upperBound <= there.count && there[range] == bytes[range]
      }
    )
  }

  /// A tracker for it, whose address is in the torrent file from now on.
  mutating func startTracker() throws -> RunningTracker {
    let tracker = try RunningTracker.start(for: infoHash, in: workplace.folder("tracker"))
    torrent = try Self.announce(torrent, to: tracker.url)
    return tracker
  }

  /// There is no listener there.
  private static let nowhere = "http://127.0.0.1:1/announce"

  /// Makes a torrent file that names no tracker that there is.
  /// - Returns: Its info hash.
  static func make(_ torrent: String, of path: String, _ options: [String]) throws -> [UInt8] {
    let end = try Program(path: Tools.maker, ["-d", "-a", nowhere, "-o", torrent] + options + [path]).end()
    // Its keys are in order, so that the one that counts is the last.
    let file = FileManager.default.contents(atPath: torrent) ?? Data()
    guard end.status == 0, let key = file.range(of: Data("4:info".utf8)) else {
      throw UnexpectedOutput(line: "mktorrent: \(end)")
    }
    return Array(Insecure.SHA1.hash(data: file[key.upperBound...].dropLast()))
  }

  /// The same torrent with another tracker, in a file beside it.
  static func announce(_ torrent: String, to url: String) throws -> String {
    var file = FileManager.default.contents(atPath: torrent) ?? Data()
    guard let range = file.range(of: Data("\(nowhere.utf8.count):\(nowhere)".utf8)) else {
      throw UnexpectedOutput(line: "mktorrent wrote no \(nowhere)")
    }
    file.replaceSubrange(range, with: "\(url.utf8.count):\(url)".utf8)
    let announced = torrent + ".announced"
    try file.write(to: URL(fileURLWithPath: announced))
    return announced
  }
}

func sha(ofFile path: String) -> [UInt8] {
  Array(Insecure.SHA1.hash(data: FileManager.default.contents(atPath: path) ?? Data()))
}
