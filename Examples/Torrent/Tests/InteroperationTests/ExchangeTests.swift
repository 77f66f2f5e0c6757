// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Torrent with the clients that others wrote", .blocking, .timeLimit(.minutes(5)))
struct ExchangeTests {
  @Test("aria2c gets a file from us", .needsTools)
  func toAria() throws {
    var content = try Content(size: Content.largeSize, pieceBits: 18)
    let tracker = try content.startTracker()
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, ["--seed"])
    try seeder.complete(content.bytes.count)
    try wait(until: "it announces itself") { try tracker.peers().complete == 1 }

    let folder = try content.workplace.folder("aria")
    let started = ContinuousClock.now
    _ = try RunningAria(content.torrent, directory: folder, []).end()
    report("aria2c from ours", content, started)
    #expect(content.isComplete(in: folder))
    #expect(try seeder.stop().status == 0)
  }

  @Test("We get a file from aria2c", .needsTools)
  func fromAria() throws {
    var content = try Content(size: Content.largeSize, pieceBits: 18)
    let tracker = try content.startTracker()
    let seeder = try RunningAria.seeder(content.torrent, directory: content.seed, tracker)

    let folder = try content.workplace.folder("ours")
    let started = ContinuousClock.now
    let ours = try RunningTorrent(content.torrent, directory: folder, [])
    try ours.complete(content.bytes.count)
    report("ours from aria2c", content, started)
    let end = try ours.program.end()
    #expect(end.status == 0)
    #expect(end.errors == "")
    #expect(content.isComplete(in: folder))
    _ = try seeder.stop()
  }

  @Test("libtorrent gets a file from us", .needsLibtorrent)
  func toLibtorrent() throws {
    let content = try Content(size: Content.largeSize, pieceBits: 18)
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, ["--seed"])
    let folder = try content.workplace.folder("libtorrent")
    let started = ContinuousClock.now
    try LibtorrentPeer.downloader(content.torrent, directory: folder, from: seeder.port).complete()
    report("libtorrent from ours", content, started)
    #expect(content.isComplete(in: folder))
    #expect(try seeder.stop().status == 0)
  }

  @Test("We get a file from libtorrent", .needsLibtorrent)
  func fromLibtorrent() throws {
    let content = try Content(size: Content.largeSize, pieceBits: 18)
    let seeder = try LibtorrentPeer.seeder(content.torrent, directory: content.seed)
    let folder = try content.workplace.folder("ours")
    let started = ContinuousClock.now
    let ours = try RunningTorrent(content.torrent, directory: folder, ["--peer", "127.0.0.1:\(seeder.port)"])
    try ours.complete(content.bytes.count)
    report("ours from libtorrent", content, started)
    #expect(try ours.program.end().status == 0)
    #expect(content.isComplete(in: folder))
  }

  /// What it took, where other sizes were asked for.
  private func report(_ what: String, _ content: Content, _ started: ContinuousClock.Instant) {
    guard Content.sizeIsAskedFor else { return }
    print("\(what): \(content.bytes.count) bytes in \(ContinuousClock.now - started)")
  }
}
