// SPDX-License-Identifier: Apache-2.0

/// What a torrent file says.
package struct Metainfo: Sendable {
  package struct File: Equatable, Sendable {
    /// Below the folder of all downloads; none of the names leads out of it.
    package var path: [String]
    package var length: Int
  }

  package var name: String
  package var infoHash: SHA1Hash
  package var layout: PieceLayout
  package var files: [File]
  package var pieceHashes: [SHA1Hash]
  package var trackers: [String]

  /// The longest torrent file that is read.
  package static let mostBytes = 16 << 20
  private static let longestPiece = 256 << 20
  private static let longestTorrent = 1 << 50

  /// Reads the bytes of a torrent file.
  package init(_ bytes: [UInt8]) throws(MetainfoError) {
    guard bytes.count <= Self.mostBytes else {
      throw MetainfoError("it is longer than \(Self.mostBytes) bytes")
    }
    let root: BencodeDictionary
    do throws(BencodeError) {
      guard let dictionary = try BencodeParser.parse(bytes).dictionary else {
        throw BencodeError(description: "there is no dictionary")
      }
      root = dictionary
    } catch {
      throw MetainfoError(error.description)
    }
    guard let info = root["info"]?.dictionary, let source = root.source(of: "info") else {
      throw MetainfoError("there is no 'info'")
    }
    infoHash = SHA1Hash(of: bytes[source])
    name = try Self.component(info["name"], of: "name")
    files = try Self.files(info, name: name)
    layout = try Self.layout(info, files)
    pieceHashes = try Self.hashes(info, count: layout.pieceCount)
    trackers = Self.trackers(root)
  }

  private static func component(_ value: Bencode?, of key: String) throws(MetainfoError) -> String {
    guard let bytes = value?.bytes else { throw MetainfoError("there is no '\(key)'") }
    let text = String(decoding: bytes, as: UTF8.self)
    guard !bytes.isEmpty else { throw MetainfoError("a name in '\(key)' is empty") }
    guard text != ".", text != "..", !bytes.contains(UInt8(ascii: "/")), !bytes.contains(0) else {
      throw MetainfoError("a name in '\(key)' leads elsewhere: \(printable(text))")
    }
    return text
  }

  private static func files(_ info: BencodeDictionary, name: String) throws(MetainfoError) -> [File] {
    guard let list = info["files"] else {
      return [File(path: [name], length: try length(info["length"]))]
    }
    guard let list = list.list, !list.isEmpty else { throw MetainfoError("there is no file in 'files'") }
    var files: [File] = []
    var paths: Set<[String]> = []
    for entry in list {
      guard let file = entry.dictionary, let names = file["path"]?.list, !names.isEmpty else {
        throw MetainfoError("a file has no 'path'")
      }
      var path = [name]
      for name in names {
        path.append(try component(name, of: "path"))
      }
      guard paths.insert(path).inserted else {
        throw MetainfoError("two files have the same path: \(printable(path.joined(separator: "/")))")
      }
      files.append(File(path: path, length: try length(file["length"])))
    }
    return files
  }

  private static func length(_ value: Bencode?) throws(MetainfoError) -> Int {
    guard let length = value?.integer, (0...longestTorrent).contains(length) else {
      throw MetainfoError("a file has no 'length', or not such a one")
    }
    return length
  }

  private static func layout(_ info: BencodeDictionary, _ files: [File]) throws(MetainfoError) -> PieceLayout
  {
    var total = 0
    for file in files {
      total += file.length
      guard total <= longestTorrent else { throw MetainfoError("its files are too long") }
    }
    guard total > 0 else { throw MetainfoError("its files are empty") }
    guard let pieceLength = info["piece length"]?.integer, (1...longestPiece).contains(pieceLength),
      let layout = PieceLayout(totalLength: total, pieceLength: pieceLength)
    else {
      throw MetainfoError("there is no 'piece length', or not such a one")
    }
    return layout
  }

  private static func hashes(_ info: BencodeDictionary, count: Int) throws(MetainfoError) -> [SHA1Hash] {
    guard let bytes = info["pieces"]?.bytes else { throw MetainfoError("there are no 'pieces'") }
    let (wanted, overflowed) = count.multipliedReportingOverflow(by: SHA1Hash.size)
    guard !overflowed, bytes.count == wanted else {
      throw MetainfoError("its files have \(count) pieces, but there are \(bytes.count) bytes of hashes")
    }
    return stride(from: 0, to: bytes.count, by: SHA1Hash.size).compactMap { start in
      SHA1Hash(bytes[start..<start + SHA1Hash.size])
    }
  }

  /// All that are named, the better ones first.
  private static func trackers(_ root: BencodeDictionary) -> [String] {
    let tiers = root["announce-list"]?.list?.flatMap { $0.list ?? [] } ?? []
    var trackers: [String] = []
    for tracker in tiers.isEmpty ? [root["announce"]].compactMap({ $0 }) : tiers {
      guard let bytes = tracker.bytes, !bytes.isEmpty, trackers.count < 100 else { continue }
      let address = printable(String(decoding: bytes.prefix(2000), as: UTF8.self))
      if !trackers.contains(address) { trackers.append(address) }
    }
    return trackers
  }
}

package struct MetainfoError: Error, CustomStringConvertible {
  private let reason: String

  init(_ reason: String) {
    self.reason = reason
  }

  package var description: String {
    "This is not a torrent file: \(reason)"
  }
}

/// A text of unknown origin in one line of a terminal.
func printable(_ text: String) -> String {
  String(
    String.UnicodeScalarView(
      text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{fffd}" : $0 }
    )
  )
}
