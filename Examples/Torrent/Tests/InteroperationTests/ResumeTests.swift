// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Testing

@Suite("Torrent goes on where it was", .blocking, .timeLimit(.minutes(5)))
struct ResumeTests {
  /// A peer of ours that has found on disk what there was, with the number of pieces that it found.
  private func resume(_ content: Content, _ folder: String, _ options: [String]) throws -> (
    RunningTorrent, Int
  ) {
    let ours = try RunningTorrent(content.torrent, directory: folder, options)
    let pattern = /content\.bin: \d+ of (\d+) pieces checked, (\d+) there\./
    let line = try ours.line("check") { $0.wholeMatch(of: pattern) != nil }
    let match = try #require(line.wholeMatch(of: pattern))
    #expect(Int(match.1) == content.pieceCount)
    return (ours, try #require(Int(match.2)))
  }

  @Test(
    "After SIGKILL in the middle only what lacks is fetched",
    .needsTools
  )
  func killed() throws {
    let content = try Content(size: Content.largeSize / 2, pieceBits: 15)
    let folder = try content.workplace.folder("ours")
    // Not all of it, so that it is in the middle however late the signal comes.
    let first = try ScriptedSeeder(of: content, giving: content.bytes.count / 2)
    let options = ["--download-limit", "\(content.bytes.count / 4)"] + first.option
    let killed = try RunningTorrent(content.torrent, directory: folder, options)
    try killed.line("quarter") { line in
      let match = line.firstMatch(of: /, (\d+) of (\d+) pieces,/)
      return match.map { (Int($0.1) ?? 0) * 4 >= (Int($0.2) ?? .max) } ?? false
    }
    #expect(try killed.stop(with: SIGKILL).status == nil)
    let there = content.pieces(in: folder)
    #expect(there.count >= content.pieceCount / 4)
    #expect(there.count < content.pieceCount)

    let second = try ScriptedSeeder(of: content)
    let (ours, found) = try resume(content, folder, second.option)
    #expect(found == there.count)
    try ours.complete(content.bytes.count)
    #expect(try ours.program.end().status == 0)
    #expect(content.isComplete(in: folder))
    #expect(second.requestedPieces == Set(0..<content.pieceCount).subtracting(there))
    #expect(
      second.requestedBytes == second.requestedPieces.map { content.range(ofPiece: $0).count }.reduce(0, +)
    )
  }

  @Test("What is wrong on disk is fetched again", .needsTools)
  func corrupted() throws {
    let content = try Content()
    let folder = try content.workplace.folder("ours")
    var bytes = content.bytes.dropLast()
    bytes[5 * content.pieceLength + 77] ^= 1
    try content.workplace.write(bytes, to: "ours/content.bin")

    let seeder = try ScriptedSeeder(of: content)
    let (ours, found) = try resume(content, folder, seeder.option)
    #expect(found == 31)
    try ours.complete(content.bytes.count)
    #expect(try ours.program.end().status == 0)
    #expect(content.isComplete(in: folder))
    #expect(seeder.requestedPieces == [5, 32])
  }

  @Test("A complete download ends at once", .needsTools)
  func complete() throws {
    let content = try Content()
    let (ours, found) = try resume(content, content.seed, [])
    #expect(found == 33)
    try ours.complete(content.bytes.count)
    #expect(try ours.program.end().status == 0)
  }

  @Test("What is longer on disk than it should be is another file, and left alone", .needsTools)
  func tooLong() throws {
    let content = try Content()
    let longer = content.bytes + Data(repeating: 0, count: 100_000)
    let path = try content.workplace.write(longer, to: "ours/content.bin")
    let folder = content.workplace.path + "/ours"
    let arguments = [content.torrent, "--directory", folder, "--ports", Ports.range()]
    let end = try Program("Torrent", arguments).end()
    #expect(end.status == 1)
    #expect(end.output == "")
    #expect(end.errors.hasPrefix("Error: \(path) is longer than the torrent says"))
    #expect((FileManager.default.contents(atPath: path) == longer) as Bool)
  }
}
