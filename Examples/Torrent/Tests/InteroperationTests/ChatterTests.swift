// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Torrent among peers who say anything", .blocking, .timeLimit(.minutes(5)))
struct ChatterTests {
  @Test("Whatever peers say, a download completes", .needsTools)
  func downloading() throws {
    let content = try Content()
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(content.torrent, directory: folder, [])
    try chatter(with: ours, content)
    let options = ["--seed", "--peer", "127.0.0.1:\(ours.port)"]
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, options)
    try ours.complete(content.bytes.count)
    let end = try ours.program.end()
    #expect(end.status == 0)
    #expect(end.errors == "")
    #expect(content.isComplete(in: folder))
    #expect(try seeder.stop().status == 0)
  }

  @Test("Whatever peers say, a seeder serves", .needsTools)
  func seeding() throws {
    let content = try Content()
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, ["--seed"])
    try seeder.complete(content.bytes.count)
    try chatter(with: seeder, content)
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(content.torrent, directory: folder, ["--peer", "127.0.0.1:\(seeder.port)"])
    try ours.complete(content.bytes.count)
    #expect(content.isComplete(in: folder))
    let end = try seeder.stop()
    #expect(end.status == 0)
    #expect(end.errors == "")
    #expect(content.isComplete(in: content.seed))
  }

  /// A hundred connections, one after the other: each says things that are nearly right, the same in each run.
  private func chatter(with ours: RunningTorrent, _ content: Content) throws {
    for seed in 0..<100 {
      var random = Seeded(state: UInt64(seed))
      let wire = try Wire(to: ours.port)
      try wire.greet(content)
      if Bool.random(using: &random) { wire.send(.interested) }
      if Int.random(in: 0..<4, using: &random) == 0 { wire.offerEverything(pieceCount: content.pieceCount) }
      for _ in 0..<Int.random(in: 1..<40, using: &random) {
        let numbers = Self.numbers(&random)
        let isSaid =
          switch Int.random(in: 0..<12, using: &random) {
          case 0: wire.send(.bitfield, (0..<5).map { _ in UInt8.random(in: 0...255, using: &random) })
          case 1:
            wire.send(.piece, bigEndian(Array(numbers.prefix(2))) + [UInt8](repeating: 1, count: 16_384))
          case 2: wire.send(.request, bigEndian(numbers))
          case 3: wire.send(.cancel, bigEndian(numbers))
          case 4: wire.send(.have, bigEndian([numbers[0]]))
          case 5: wire.sendKeepAlive()
          case 6: wire.send(UInt8.random(in: 0...30, using: &random), [1, 2, 3])
          default: wire.send(UInt8.random(in: 0...3, using: &random))
          }
        guard isSaid else { break }
      }
      // Not with something unread, which would take away from it what it has not read.
      wire.connection.endSending()
      #expect(wire.connection.isEnded())
    }
  }

  /// Of a piece, a place in it, a length: there is such a piece, usually, and such a place in it.
  private static func numbers(_ random: inout Seeded) -> [UInt32] {
    let lengths: [UInt32] = [16_384, 0, 1, 16_384, 32_768, 131_072, .max]
    return [
      UInt32.random(in: 0..<45, using: &random),
      UInt32.random(in: 0..<4, using: &random) * 16_383,
      lengths.randomElement(using: &random) ?? 0,
    ]
  }

  /// The generator of Steele, Lea and Flood, SplitMix.
  private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var mixed = state
      mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
      mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
      return mixed ^ mixed >> 31
    }
  }
}
