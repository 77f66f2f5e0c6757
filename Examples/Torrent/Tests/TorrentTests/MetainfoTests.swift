// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import BitTorrent

@Suite("Metainfo")
struct MetainfoTests {
  static let hash = String(repeating: "h", count: 20)

  private func metainfo(_ info: String, before: String = "", after: String = "") throws(MetainfoError)
    -> Metainfo
  {
    try Metainfo(Array("d\(before)4:info\(info)\(after)e".utf8))
  }

  private func singleFile(name: String = "4:name", length: Int = 5, pieces: String? = nil) -> String {
    let pieces = pieces ?? "20:\(Self.hash)"
    return "d6:lengthi\(length)e4:name\(name)12:piece lengthi16e6:pieces\(pieces)e"
  }

  private func files(_ list: String) -> String {
    "d5:filesl\(list)e4:name3:dir12:piece lengthi16e6:pieces20:\(Self.hash)e"
  }

  @Test("A torrent of a single file")
  func single() throws {
    let metainfo = try metainfo(singleFile(), before: "8:announce10:http://t/a")
    #expect(metainfo.name == "name")
    #expect(metainfo.files == [.init(path: ["name"], length: 5)])
    #expect(metainfo.layout.pieceCount == 1)
    #expect(metainfo.pieceHashes.map(\.bytes) == [Array(Self.hash.utf8)])
    #expect(metainfo.trackers == ["http://t/a"])
  }

  @Test("The info hash is that of the bytes as they were written")
  func infoHash() throws {
    let info = singleFile()
    #expect(try metainfo(info, after: "1:zi1e").infoHash == SHA1Hash(of: Array(info.utf8)))
  }

  @Test("SHA-1 of what is known")
  func sha1() {
    let bytes = SHA1Hash(of: Array("abc".utf8)).bytes
    #expect(bytes.prefix(4) == [0xa9, 0x99, 0x3e, 0x36])
    #expect(bytes.count == 20)
  }

  @Test("A torrent of several files")
  func several() throws {
    let metainfo = try metainfo(
      files("d6:lengthi3e4:pathl1:a1:beed6:lengthi0e4:pathl1:ceed6:lengthi4e4:pathl1:dee")
    )
    #expect(
      metainfo.files == [
        .init(path: ["dir", "a", "b"], length: 3), .init(path: ["dir", "c"], length: 0),
        .init(path: ["dir", "d"], length: 4),
      ]
    )
    #expect(metainfo.layout.totalLength == 7)
  }

  @Test(
    "Names that lead elsewhere are refused",
    arguments: ["2:..", "1:.", "0:", "4:/etc", "3:a/b", "6:../../", "3:a\u{0}b"]
  )
  func names(_ name: String) {
    #expect(throws: MetainfoError.self) { try metainfo(singleFile(name: name)) }
    #expect(throws: MetainfoError.self) { try metainfo(files("d6:lengthi3e4:pathl1:a\(name)ee")) }
  }

  @Test("Missing and wrong values are reported")
  func wrong() {
    let texts: [String: String] = [
      "le": "there is no dictionary",
      "de": "there is no 'info'",
      "d4:infoi1ee": "there is no 'info'",
      "d4:infodee": "there is no 'name'",
      "d4:info\(singleFile(length: 0))e": "its files are empty",
      "d4:info\(singleFile(length: -1))e": "a file has no 'length', or not such a one",
      "d4:info\(singleFile(length: Int.max))e": "a file has no 'length', or not such a one",
      "d4:info\(singleFile(length: 17))e": "its files have 2 pieces, but there are 20 bytes of hashes",
      "d4:info\(singleFile(pieces: "19:1234567890123456789"))e":
        "its files have 1 pieces, but there are 19 bytes of hashes",
      "d4:infod6:lengthi5e4:name1:nee": "there is no 'piece length', or not such a one",
      "d4:infod6:lengthi5e4:name1:n12:piece lengthi0eee": "there is no 'piece length', or not such a one",
      "d4:infod6:lengthi5e4:name1:n12:piece lengthi16eee": "there are no 'pieces'",
      "d4:info\(files(""))e": "there is no file in 'files'",
      "d4:info\(files("d6:lengthi5e4:pathlee"))e": "a file has no 'path'",
      "d4:info\(files("d6:lengthi5e4:pathl1:aeed6:lengthi5e4:pathl1:aee"))e":
        "two files have the same path: dir/a",
      "": "not bencoded at byte 0: it ends too early",
    ]
    for (text, reason) in texts {
      let error = #expect(throws: MetainfoError.self, "\(text)") { try Metainfo(Array(text.utf8)) }
      #expect(error?.description == "This is not a torrent file: \(reason)")
    }
  }

  @Test("All trackers count, each once")
  func trackers() throws {
    let metainfo = try metainfo(
      singleFile(),
      before: "8:announce1:x13:announce-listll1:a1:bel1:a1:cee"
    )
    #expect(metainfo.trackers == ["a", "b", "c"])
  }

  @Test("Control characters in names do not reach the terminal")
  func controlCharacters() throws {
    #expect(printable("a\u{1b}[2Jb\n") == "a\u{fffd}[2Jb\u{fffd}")
  }
}

@Suite("Pieces")
struct PieceTests {
  @Test("The last piece and the last block may be shorter")
  func layout() throws {
    let layout = try #require(PieceLayout(totalLength: 100_001, pieceLength: 40_000))
    #expect(layout.pieceCount == 3)
    #expect(layout.range(ofPiece: 2) == 80_000..<100_001)
    #expect(layout.blockCount(ofPiece: 0) == 3)
    #expect(layout.block(2, ofPiece: 0) == Block(piece: 0, begin: 32_768, length: 7232))
    #expect(layout.blockCount(ofPiece: 2) == 2)
    #expect(layout.block(1, ofPiece: 2) == Block(piece: 2, begin: 16_384, length: 3617))
    #expect(layout.range(ofPiece: 3).isEmpty)
    #expect(layout.range(ofPiece: -1).isEmpty)
  }

  @Test("Stretches are there, or are not")
  func contains() throws {
    let layout = try #require(PieceLayout(totalLength: 100_001, pieceLength: 40_000))
    #expect(layout.contains(Block(piece: 2, begin: 0, length: 20_001)))
    #expect(!layout.contains(Block(piece: 2, begin: 0, length: 20_002)))
    #expect(!layout.contains(Block(piece: 2, begin: 1, length: 20_001)))
    #expect(!layout.contains(Block(piece: 3, begin: 0, length: 1)))
    #expect(!layout.contains(Block(piece: 0, begin: 0, length: 0)))
    #expect(!layout.contains(Block(piece: 0, begin: Int(UInt32.max), length: Int(UInt32.max))))
  }

  @Test("A bit field is read from the highest bit on, and what is beyond the end does not count")
  func bitfield() throws {
    let set = try #require(PieceSet(bitfield: [0b1000_0001, 0b0111_1111], pieceCount: 10))
    #expect((0..<16).filter { set.contains($0) } == [0, 7, 9])
    #expect(set.count == 3)
    #expect(set.bitfield == [0b1000_0001, 0b0100_0000])
    #expect(PieceSet(bitfield: [1], pieceCount: 10) == nil)
    #expect(PieceSet(bitfield: [1, 2, 3], pieceCount: 10) == nil)
  }

  @Test("A set grows until it is complete")
  func insert() {
    var set = PieceSet(pieceCount: 9)
    for piece in 0..<9 {
      #expect(!set.isComplete)
      let isNew = [set.insert(piece), set.insert(piece)]
      #expect(isNew == [true, false])
    }
    #expect(set.isComplete)
    let areNew = [set.insert(9), set.insert(-1)]
    #expect(areNew == [false, false])
    #expect(set.hasMore(than: PieceSet(pieceCount: 9)))
    #expect(!PieceSet(pieceCount: 9).hasMore(than: set))
  }
}
