// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Testing

@Suite("Torrent and its limits", .blocking, .timeLimit(.minutes(5)))
struct LimitTests {
  @Test("A peer beyond the limit of connections is refused", .needsTools)
  func connections() throws {
    let content = try Content()
    let options = ["--seed", "--connections", "3"]
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, options)
    try seeder.complete(content.bytes.count)
    var three = try (0..<3).map { _ in try Wire(to: seeder.port) }
    for wire in three { try wire.greet(content) }

    let fourth = try Wire(to: seeder.port)
    #expect(fourth.connection.isEnded())
    let refusal = "Refused 127.0.0.1:\(fourth.connection.localPort): 3 connections are open."
    try seeder.line("refusal") { $0 == refusal }

    // The others are served as before.
    for (piece, wire) in three.enumerated() {
      wire.send(.interested)
      #expect(wire.receive(.unchoke) != nil)
      wire.sendRequest(piece, 0, 16_384)
      let first = content.range(ofPiece: piece).lowerBound
      let answer = bigEndian([UInt32(piece), 0]) + content.bytes[first..<first + 16_384]
      #expect((wire.receive(.piece)?.payload == answer) as Bool)
    }

    // And when one of them goes, there is room for another.
    three.removeLast()
    try wait(until: "there is room") { (try? Wire(to: seeder.port).greet(content)) != nil }
    withExtendedLifetime(three) {}
    #expect(try seeder.stop().status == 0)
  }

  @Test("Connections that we make count, too", .needsTools)
  func outgoing() throws {
    let content = try Content()
    let listener = try #require(Listener())
    let options = ["--connections", "1", "--peer", "127.0.0.1:\(listener.port)"]
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(content.torrent, directory: folder, options)
    let wire = Wire(try #require(listener.accept(within: .seconds(60))))
    try wire.greet(content)

    let second = try Wire(to: ours.port)
    #expect(second.connection.isEnded())
    let refusal = "Refused 127.0.0.1:\(second.connection.localPort): 1 connections are open."
    try ours.line("refusal") { $0 == refusal }
    #expect(try ours.stop().status == 0)
  }

  @Test("The port after the ones that are taken is listened on", .needsTools)
  func nextPort() throws {
    let content = try Content()
    // Perhaps others have it, in a network that is not our own.
    let taken = Listener(port: 6881)
    let ours = try RunningTorrent(
      content.torrent,
      directory: content.seed,
      ["--seed", "--ports", "6881-7000"]
    )
    #expect((6882...7000).contains(ours.port))
    #expect(Connection(port: ours.port) != nil)
    #expect(try ours.stop().status == 0)

    // Ports that no other test has, so that it is exactly this one.
    let first = Ports.free(10)
    let both = [Listener(port: first), Listener(port: first + 1)]
    let third = try RunningTorrent(
      content.torrent,
      directory: content.seed,
      ["--seed", "--ports", "\(first)-\(first + 9)"]
    )
    #expect(third.port == first + 2)
    #expect(try third.stop().status == 0)
    withExtendedLifetime((taken, both)) {}
  }

  @Test("When all ports are taken it says so", .needsTools)
  func noPort() throws {
    let content = try Content()
    let first = Ports.free(2)
    let both = [Listener(port: first), Listener(port: first + 1)]
    let arguments = [content.torrent, "--directory", content.seed, "--ports", "\(first)-\(first + 1)"]
    let end = try Program("Torrent", arguments).end()
    withExtendedLifetime(both) {}
    let error = "Error: Unable to start the server: The bound address is already in use\n"
    #expect(end == .init(status: 1, output: "", errors: error))
  }

  @Test("No download is faster than it may be", .needsTools)
  func downloadLimit() throws {
    let content = try Content()
    let seeder = try ScriptedSeeder(of: content)
    let folder = try content.workplace.folder("ours")
    let options = ["--download-limit", "\(Self.limit)"] + seeder.option
    let started = ContinuousClock.now
    let ours = try RunningTorrent(content.torrent, directory: folder, options)
    try ours.complete(content.bytes.count)
    #expect(ContinuousClock.now - started >= Self.leastTime(content.bytes.count))
    #expect(content.isComplete(in: folder))
  }

  @Test("Two downloads share what may be uploaded", .needsTools)
  func uploadLimit() throws {
    let content = try Content(size: 500_000)
    let options = ["--seed", "--upload-limit", "\(Self.limit)"]
    let seeder = try RunningTorrent(content.torrent, directory: content.seed, options)
    try seeder.complete(content.bytes.count)
    let folders = try ["first", "second"].map { try content.workplace.folder($0) }
    let started = ContinuousClock.now
    let ours = try folders.map {
      try RunningTorrent(content.torrent, directory: $0, ["--peer", "127.0.0.1:\(seeder.port)"])
    }
    for peer in ours { try peer.complete(content.bytes.count) }
    #expect(ContinuousClock.now - started >= Self.leastTime(2 * content.bytes.count))
    for folder in folders { #expect(content.isComplete(in: folder)) }
  }

  private static let limit = 256 << 10

  /// What was not used of a second is there for the next.
  private static func leastTime(_ bytes: Int) -> Duration {
    .seconds(Double(bytes) / Double(limit) - 1)
  }
}
