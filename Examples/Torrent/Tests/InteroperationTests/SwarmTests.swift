// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Torrent in a swarm", .blocking, .timeLimit(.minutes(5)))
struct SwarmTests {
  @Test(
    "Five of ours and two of aria2c exchange a file, and do not all get all of it from the one that has it",
    .needsTools
  )
  func swarm() throws {
    var content = try Content(size: Content.largeSize, pieceBits: 16)
    let tracker = try content.startTracker()
    // Much slower than the others, who have it one to one otherwise before they have seen each other: on a busy machine
    // they take seconds for that.
    let seeder = try RunningAria.seeder(
      content.torrent,
      directory: content.seed,
      tracker,
      ["--max-upload-limit=1M"]
    )

    let folders = try (1...5).map { try content.workplace.folder("ours-\($0)") }
    let ours = try folders.map { try RunningTorrent(content.torrent, directory: $0, ["--seed"]) }
    let ariasFolders = try (1...2).map { try content.workplace.folder("aria-\($0)") }
    let arias = try ariasFolders.map { try RunningAria(content.torrent, directory: $0, []) }

    let started = ContinuousClock.now
    for peer in ours { try peer.complete(content.bytes.count) }
    let ratios = try arias.map { try $0.end() }
    for folder in folders + ariasFolders { #expect(content.isComplete(in: folder)) }
    for peer in ours {
      let dropped = peer.lines.filter { $0.hasPrefix("Dropped") }
      // aria2c tries to talk in cipher first, and the tracker names us to ourselves.
      #expect(dropped.filter { !$0.contains(/: (no BitTorrent handshake|connected to ourselves)\.$/) } == [])
      #expect(try peer.stop().status == 0)
    }
    let seeded = try seeder.stop()
    if Content.sizeIsAskedFor {
      print("Swarm of 7 from one: \(ContinuousClock.now - started), seeder: \(seeded), aria2c: \(ratios)")
    }
    #expect(seeded.uploaded > 0.9 * Double(content.bytes.count))
    #expect(seeded.uploaded < 2 * Double(content.bytes.count), "of seven times that they got together")
  }

  @Test("A client that stops is no longer in the tracker's list", .needsTools)
  func stopped() throws {
    var content = try Content()
    let tracker = try content.startTracker()
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, ["--seed"])
    try wait(until: "the seeder is there") { try tracker.peers() == .init(complete: 1) }
    // So slow that it does not complete in this test.
    let folder = try content.workplace.folder("ours")
    let other = try RunningTorrent(content.torrent, directory: folder, ["--download-limit", "20000"])
    try wait(until: "the other is there") { try tracker.peers() == .init(complete: 1, incomplete: 1) }

    let stopped = try other.stop(with: SIGTERM)
    #expect(stopped.status == 0)
    #expect(stopped.output.contains(/(^|\n)Stopped; content\.bin: \d+ of 33 pieces\.\n$/))
    #expect(try tracker.peers() == .init(complete: 1))

    let end = try seeder.stop(with: SIGINT)
    #expect(end.status == 0)
    #expect(end.output.hasSuffix("Stopped; content.bin: 33 of 33 pieces.\n"))
    #expect(end.errors == "")
    #expect(try tracker.peers() == .init())
  }

  @Test("A tracker that answers nothing does not keep us", .needsTools)
  func silentTracker() throws {
    let content = try Content()
    let silent = try #require(Listener())
    let url = "http://127.0.0.1:\(silent.port)/announce"
    let torrent = try Content.announce(content.torrent, to: url)
    let seeder = try RunningTorrent(torrent, directory: content.seed, ["--seed"])
    try seeder.complete(content.bytes.count)
    let question = try #require(silent.accept(within: .seconds(60)))
    #expect(question.receive(14) == Array("GET /announce?".utf8))

    let started = ContinuousClock.now
    let end = try seeder.stop()
    // It may wait two seconds for the tracker; a request ends by itself after 20.
    #expect(ContinuousClock.now - started < .seconds(18))
    #expect(end.status == 0)
    #expect(end.output.hasSuffix("Stopped; content.bin: 33 of 33 pieces.\n"))
  }

  @Test("No tracker is no end of it", .needsTools)
  func noTracker() throws {
    let content = try Content()
    let seeder = try ScriptedSeeder(of: content)
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(content.torrent, directory: folder, seeder.option)
    try ours.complete(content.bytes.count)
    let end = try ours.program.end()
    #expect(end.status == 0)
    #expect((ours.lines + [end.output]).contains { $0.contains("Tracker http://127.0.0.1:1/announce: ") })
    #expect(content.isComplete(in: folder))
  }
}
