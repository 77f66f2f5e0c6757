// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Testing

@Suite("Torrent among bad peers", .blocking, .timeLimit(.minutes(5)))
struct BadPeerTests {
  @Test(
    "An incoming peer that breaks the protocol is dropped, and the download completes from another",
    .needsTools,
    arguments: BadPeer.ofDownloaders
  )
  func droppedDownloading(bad: BadPeer) throws {
    let content = try Content()
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(content.torrent, directory: folder, bad.options)
    let wire = try Wire(to: ours.port)
    try bad.act(wire, content)
    let reason = try ours.reason(forDropping: wire.connection.localPort)
    #expect(reason.wholeMatch(of: try Regex(bad.reason)) != nil, "\(reason)")
    #expect(wire.connection.isEnded())
    try expectCompletion(of: ours, content, folder)
  }

  @Test(
    "A peer that we connect to is dropped, too, when it breaks the protocol",
    .needsTools,
    arguments: BadPeer.ofDownloaders.prefix(5)
  )
  func droppedConnected(bad: BadPeer) throws {
    let content = try Content()
    let folder = try content.workplace.folder("ours")
    let listener = try #require(Listener())
    let peer = ["--peer", "127.0.0.1:\(listener.port)"]
    let ours = try RunningTorrent(content.torrent, directory: folder, peer + bad.options)
    let wire = Wire(try #require(listener.accept(within: .seconds(60))))
    try bad.act(wire, content)
    let reason = try ours.reason(forDropping: listener.port)
    #expect(reason.wholeMatch(of: try Regex(bad.reason)) != nil, "\(reason)")
    #expect(wire.connection.isEnded())
    try expectCompletion(of: ours, content, folder)
  }

  @Test("Between a liar and an honest peer the liar is dropped, and the honest one is not", .needsTools)
  func liarAndHonest() throws {
    let content = try Content()
    let folder = try content.workplace.folder("ours")
    let honest = try ScriptedSeeder(of: content)
    // So slow that both are asked for something.
    let options = ["--download-limit", "\(256 << 10)"] + honest.option
    let ours = try RunningTorrent(content.torrent, directory: folder, options)
    let wire = try Wire(to: ours.port)
    let liar = try #require(BadPeer.ofDownloaders.first { $0.testDescription == "wrong data" })
    try liar.act(wire, content)
    try ours.complete(content.bytes.count)
    let dropped = ours.lines.filter { $0.hasPrefix("Dropped") }
    #expect(dropped.count == 1)
    #expect(dropped.first?.contains(/^Dropped 127.0.0.1:\d+: piece \d+ has a wrong hash\.$/) == true)
    #expect(dropped.first?.contains(":\(wire.connection.localPort):") == true)
    #expect(content.isComplete(in: folder))
  }

  @Test("A peer with our own ID is dropped: we have connected to ourselves", .needsTools)
  func ourselves() throws {
    let content = try Content()
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(content.torrent, directory: folder, [])
    let id = try Wire(to: ours.port).greet(content)
    let wire = try Wire(to: ours.port)
    wire.sendHandshake(content.infoHash, id: id)
    #expect(try ours.reason(forDropping: wire.connection.localPort) == "connected to ourselves")
    #expect(wire.connection.isEnded())
    try expectCompletion(of: ours, content, folder)
  }

  @Test(
    "A peer that requests without end and reads nothing is dropped before it costs much memory",
    .needsTools
  )
  func endlessRequests() throws {
    let content = try Content()
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, ["--seed"])
    try seeder.complete(content.bytes.count)
    let before = try seeder.peakMemory()
    let wire = try Wire(to: seeder.port)
    try wire.greet(content)
    wire.send(.interested)
    #expect(wire.receive(.unchoke) != nil)
    // What this asks for is more than a gigabyte.
    var requests = 0
    while requests < 100_000, wire.sendRequest(requests % 32, 0, 16_384) { requests += 1 }
    #expect(try seeder.reason(forDropping: wire.connection.localPort) == "too many requests")
    #expect(requests < 100_000)
    #expect(try seeder.peakMemory() - before < 32 << 20)

    let folder = try content.workplace.folder("ours")
    let other = try RunningTorrent(
      content.torrent,
      directory: folder,
      ["--peer", "127.0.0.1:\(seeder.port)"]
    )
    try other.complete(content.bytes.count)
    #expect(content.isComplete(in: folder))
  }

  @Test(
    "Requests for what there is not are malformed",
    .needsTools,
    arguments: [(33, 0, 16_384), (0, 32_768, 1), (0, 16_385, 16_384), (32, 0, 16_384), (0, -1, 16_384)]
  )
  func outOfRange(piece: Int, begin: Int, length: Int) throws {
    let content = try Content()
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, ["--seed"])
    let wire = try Wire(to: seeder.port)
    try wire.greet(content)
    wire.send(.interested)
    #expect(wire.receive(.unchoke) != nil)
    let numbers = [piece, begin, length].map { UInt32(truncatingIfNeeded: $0) }
    wire.send(.request, bigEndian(numbers))
    #expect(try seeder.reason(forDropping: wire.connection.localPort) == "malformed request message")
    #expect(wire.connection.isEnded())
  }

  /// A seeder that comes now gives all of it.
  private func expectCompletion(of ours: RunningTorrent, _ content: Content, _ folder: String) throws {
    let options = ["--seed", "--peer", "127.0.0.1:\(ours.port)"]
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, options)
    try ours.complete(content.bytes.count)
    let end = try ours.program.end()
    #expect(end.status == 0)
    #expect(end.errors == "")
    #expect(content.isComplete(in: folder))
    #expect(try seeder.stop().status == 0)
  }
}
