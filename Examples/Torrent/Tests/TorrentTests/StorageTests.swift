// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import BitTorrent

@Suite("Storage")
struct StorageTests {
  /// A folder of its own, which goes with it.
  private final class Folder {
    let path: String

    init() throws {
      let name = "tcpserverkit-torrent-\(UUID().uuidString)"
      path = FileManager.default.temporaryDirectory.appendingPathComponent(name).path
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit {
      try? FileManager.default.removeItem(atPath: path)
    }

    func contents(_ file: String) -> [UInt8]? {
      FileManager.default.contents(atPath: "\(path)/\(file)").map { Array($0) }
    }
  }

  private static let bytes = (0..<100).map { UInt8($0) }

  /// Files of 10, 0, 0, 55 and 35 bytes, in pieces of 32.
  private static func metainfo() throws -> Metainfo {
    let lengths = [("a", 10), ("empty", 0), ("also", 0), ("b", 55), ("c", 35)]
    let files = lengths.map { "d6:lengthi\($0.1)e4:pathl3:sub\($0.0.count):\($0.0)ee" }.joined()
    let head = "d4:infod5:filesl\(files)e4:name3:top12:piece lengthi32e6:pieces80:"
    let hashes = stride(from: 0, to: 100, by: 32).flatMap {
      SHA1Hash(of: bytes[$0..<min($0 + 32, 100)]).bytes
    }
    return try Metainfo(Array(head.utf8) + hashes + Array("ee".utf8))
  }

  private let folder: Folder
  private let metainfo: Metainfo
  private let storage: Storage

  init() throws {
    folder = try Folder()
    metainfo = try Self.metainfo()
    storage = Storage(metainfo: metainfo, folder: folder.path + "/new")
  }

  @Test("What is written across files is read back from any place")
  func acrossFiles() throws {
    for start in stride(from: 0, to: 100, by: 7).shuffled() {
      try storage.write(Array(Self.bytes[start..<min(start + 7, 100)]), at: start)
    }
    try storage.prepare()
    #expect(folder.contents("new/top/sub/a") == Array(Self.bytes[..<10]))
    #expect(folder.contents("new/top/sub/b") == Array(Self.bytes[10..<65]))
    #expect(folder.contents("new/top/sub/c") == Array(Self.bytes[65...]))
    #expect(folder.contents("new/top/sub/empty") == [])
    let other = Storage(metainfo: metainfo, folder: folder.path + "/new")
    for start in 0...100 {
      for end in [start, min(start + 1, 100), 100] {
        #expect(try other.read(start..<end) == Array(Self.bytes[start..<end]))
      }
    }
  }

  @Test("What is not there is not read, and nothing is made for it")
  func missing() throws {
    #expect(try storage.read(0..<5) == nil)
    #expect(!storage.mayHold(0..<5))
    try storage.write(Array(Self.bytes[..<20]), at: 0)
    #expect(storage.mayHold(0..<20))
    #expect(try storage.read(0..<20) == Array(Self.bytes[..<20]))
    #expect(!storage.mayHold(0..<21))
    #expect(try storage.read(0..<21) == nil)
    #expect(folder.contents("new/top/sub/c") == nil)
  }

  @Test("A file that was only read until now can be written to")
  func readThenWritten() throws {
    try storage.write(Self.bytes, at: 0)
    let other = Storage(metainfo: metainfo, folder: folder.path + "/new")
    #expect(try other.read(0..<1) == [0])
    try other.write([77], at: 0)
    #expect(try other.read(0..<1) == [77])
  }

  @Test("A census finds the pieces that are there and right")
  func census() throws {
    try storage.write(Array(Self.bytes[..<70]), at: 0)
    try storage.write([99], at: 40)
    let census = try PieceChecker.takeCensus(metainfo, folder: folder.path + "/new").get()
    #expect(census.checked == 2)
    #expect((0..<4).filter { census.pieces.contains($0) } == [0])
  }

  @Test("A wrong piece is reported with the hashes of its blocks, a right one only on request")
  func verdicts() throws {
    try storage.write(Self.bytes, at: 0)
    let folder = folder.path + "/new"
    func check(_ piece: Int, _ wantsBlockHashes: Bool = false) throws -> PieceChecker.Verdict {
      try PieceChecker.check(piece, of: metainfo, folder: folder, wantsBlockHashes: wantsBlockHashes).get()
    }
    #expect(try check(3).isRight)
    #expect(try check(3).blockHashes == [])
    #expect(try check(3, true).blockHashes == [SHA1Hash(of: Self.bytes[96...])])
    try storage.write([0], at: 99)
    #expect(try !check(3).isRight)
    #expect(try check(3).blockHashes == [SHA1Hash(of: Self.bytes[96..<99] + [0])])
  }

  @Test("A file that is longer than it should be is another one, and left alone")
  func tooLong() throws {
    try storage.write(Self.bytes, at: 0)
    let path = folder.path + "/new/top/sub/b"
    let file = try #require(FileHandle(forWritingAtPath: path))
    try file.seekToEnd()
    try file.write(contentsOf: Data([1, 2, 3]))
    try file.close()
    let error = #expect(throws: StorageError.self) { try storage.prepare() }
    #expect(error?.description == "\(path) is longer than the torrent says: 58 bytes")
    #expect(folder.contents("new/top/sub/b")?.count == 58)
  }

  @Test("A folder where a file is to be is an error that says so")
  func folderInTheWay() throws {
    let path = folder.path + "/new/top/sub/a"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let error = #expect(throws: StorageError.self) { try storage.write([1], at: 0) }
    #expect(error?.description == "Unable to open \(path): Is a directory")
  }

  @Test("A file where a folder is to be is an error, too")
  func fileInTheWay() throws {
    #expect(FileManager.default.createFile(atPath: folder.path + "/new", contents: nil))
    let error = #expect(throws: StorageError.self) { try storage.write([1], at: 0) }
    #expect(error?.description == "Unable to make the folder \(folder.path)/new/top: Not a directory")
  }
}
