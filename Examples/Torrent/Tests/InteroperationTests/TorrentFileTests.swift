// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Testing

@Suite("Torrent files, good and bad", .blocking, .timeLimit(.minutes(5)))
struct TorrentFileTests {
  /// Files in folders, whose ends are in the middle of pieces.
  private static let sizes = [
    "a": 100_000, "empty": 0, "inner/deep er/b": 1, "inner/ä": 300_000, "z": 40_000,
  ]

  /// - Returns: The place, the torrent, and what is in it.
  private func makeFolder() throws -> (Workplace, torrent: String, infoHash: [UInt8]) {
    let workplace = try Workplace()
    for (name, size) in Self.sizes {
      try workplace.write((0..<size).map { _ in UInt8.random(in: 0...255) }, to: "seed/many/\(name)")
    }
    let torrent = workplace.path + "/many.torrent"
    let hash = try Content.make(torrent, of: workplace.path + "/seed/many", ["-l", "15"])
    return (workplace, torrent, hash)
  }

  private func expectSame(_ workplace: Workplace, _ folder: String) {
    #expect(workplace.files(below: folder + "/many") == Self.sizes.keys.sorted())
    for name in Self.sizes.keys {
      let paths = ["seed", folder].map { "\(workplace.path)/\($0)/many/\(name)" }
      #expect(sha(ofFile: paths[0]) == sha(ofFile: paths[1]), "\(name)")
    }
  }

  @Test("Many files go to aria2c and come back", .needsTools)
  func manyFiles() throws {
    let (workplace, original, hash) = try makeFolder()
    let tracker = try RunningTracker.start(for: hash, in: workplace.folder("tracker"))
    let torrent = try Content.announce(original, to: tracker.url)
    let total = Self.sizes.values.reduce(0, +)
    let seeder = try RunningTorrent(torrent, directory: workplace.path + "/seed", ["--seed"])
    try seeder.complete(total, of: "many")
    try wait(until: "it announces itself") { try tracker.peers().complete == 1 }
    _ = try RunningAria(torrent, directory: workplace.folder("aria"), []).end()
    expectSame(workplace, "aria")
    #expect(try seeder.stop().status == 0)

    let aria = try RunningAria.seeder(torrent, directory: workplace.path + "/aria", tracker)
    let ours = try RunningTorrent(torrent, directory: workplace.folder("ours"), [])
    try ours.complete(total, of: "many")
    #expect(try ours.program.end().status == 0)
    expectSame(workplace, "ours")
    _ = try aria.stop()
  }

  @Test("Two torrents at once", .needsTools)
  func twoTorrents() throws {
    let (workplace, many, _) = try makeFolder()
    let content = try Content()
    try workplace.write(content.bytes, to: "seed/content.bin")
    let torrents = [many, content.torrent]
    let seeder = try RunningTorrent(torrents, directory: workplace.path + "/seed", ["--seed"])
    let folder = try workplace.folder("ours")
    let ours = try RunningTorrent(torrents, directory: folder, ["--peer", "127.0.0.1:\(seeder.port)"])
    let end = try ours.program.end()
    #expect(end.status == 0)
    #expect(end.output.contains("many: complete, \(Self.sizes.values.reduce(0, +)) bytes.\n"))
    #expect(end.output.contains("content.bin: complete, \(content.bytes.count) bytes.\n"))
    expectSame(workplace, "ours")
    #expect(content.isComplete(in: folder))
    #expect(try seeder.stop().status == 0)
  }

  // MARK: -

  /// A torrent of these files, or of one, as a text in bencoding. Its pieces are of 16 KiB.
  private static func torrent(name: String, paths: [[String]]) -> [UInt8] {
    let files = paths.map { path in
      "d6:lengthi1e4:pathl" + path.map { "\($0.utf8.count):\($0)" }.joined() + "ee"
    }
    let content = paths.isEmpty ? "6:lengthi1e" : "5:filesl" + files.joined() + "e"
    return torrent(
      info:
        "d\(content)4:name\(name.utf8.count):\(name)12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae"
    )
  }

  private static func torrent(info: String) -> [UInt8] {
    Array("d8:announce21:http://127.0.0.1:1/an4:info\(info)e".utf8)
  }

  @Test(
    "No torrent writes outside its folder",
    arguments: [
      ("..", []), (".", []), ("/tmp/absolute", []), ("a/b", []), ("", []), ("a\0b", []),
      ("many", [["..", "..", "out"]]), ("many", [["inner", "..", "..", "out"]]), ("many", [["/out"]]),
      ("many", [["../../out"]]), ("many", [[""]]), ("many", [[]]), ("many", [["."]]), ("many", [["a\0b"]]),
      ("..", [["out"]]), ("many", [["good"], ["..", "..", "out"]]),
    ] as [(String, [[String]])]
  )
  func paths(name: String, paths: [[String]]) throws {
    try expectRefusal(of: Self.torrent(name: name, paths: paths))
  }

  @Test(
    "What is no torrent is none",
    arguments: [
      "", "no torrent", "d", "de", "i1e", "4:info", "d4:infoe", "d4:infoi1ee", "d4:infodee",
      "99999999999999999999:a",
      "-1:a", "d8:announce3:abc",
    ]
  )
  func noTorrent(text: String) throws {
    try expectRefusal(of: Array(text.utf8))
  }

  @Test(
    "Numbers that cannot be are refused",
    arguments: [
      "d6:lengthi-1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
      "d6:lengthi9223372036854775807e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
      "d6:lengthi9223372036854775808e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
      "d6:lengthi1e4:name1:a12:piece lengthi0e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
      "d6:lengthi1e4:name1:a12:piece lengthi-16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
      "d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces19:aaaaaaaaaaaaaaaaaaae",
      "d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces40:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaae",
      "d6:lengthi20000e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
      """
      d5:filesld6:lengthi9223372036854775807e4:pathl1:aeed6:lengthi9223372036854775807e4:pathl1:beee\
      4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae
      """,
    ]
  )
  func numbers(info: String) throws {
    try expectRefusal(of: Self.torrent(info: info))
  }

  @Test("Lists in lists in lists do not end the program in disorder")
  func deep() throws {
    try expectRefusal(of: [UInt8](repeating: UInt8(ascii: "l"), count: 1_000_000))
  }

  @Test("A file that is not there is an error, and so is one bad torrent among good ones")
  func missing() throws {
    let workplace = try Workplace()
    let end = try run([workplace.path + "/none.torrent"], workplace)
    #expect(end.status == 1)
    #expect(end.errors.hasPrefix("Error: "))
    let good = try workplace.write(Self.torrent(name: "good", paths: []), to: "good.torrent")
    let bad = try workplace.write([1, 2, 3], to: "bad.torrent")
    let both = try run([good, bad], workplace)
    #expect(both.status == 1)
    #expect(both.errors.hasPrefix("Error: "))
    #expect(both.errors.contains("bad.torrent"))
  }

  private func run(_ torrents: [String], _ workplace: Workplace) throws -> Program.End {
    let folder = try workplace.folder("here/and/there")
    return try Program("Torrent", torrents + ["--directory", folder, "--ports", Ports.range()]).end()
  }

  private func expectRefusal(of torrent: [UInt8]) throws {
    let workplace = try Workplace()
    let end = try run([try workplace.write(torrent, to: "bad.torrent")], workplace)
    #expect(end.status == 1)
    #expect(end.output == "")
    #expect(end.errors.wholeMatch(of: /Error: [^\n]+\n/) != nil, "\(end.errors)")
    #expect(workplace.files(below: "here") == [])
    #expect(!FileManager.default.fileExists(atPath: "/tmp/absolute"))
  }
}
