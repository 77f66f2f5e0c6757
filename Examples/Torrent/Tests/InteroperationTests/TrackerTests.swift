// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Torrent and what trackers answer", .blocking, .timeLimit(.minutes(5)))
struct TrackerTests {
  @Test("A tracker gets each event, and names the peers", .needsTools)
  func questions() throws {
    let content = try Content()
    let seeder = try ScriptedSeeder(of: content)
    let peer = "d2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti\(seeder.port)ee"
    let body = "d8:intervali1e5:peersl\(peer)e10:tracker id4:a&=%e"
    let tracker = try ScriptedTracker(body: Array(body.utf8))
    let torrent = try Content.announce(content.torrent, to: tracker.url)
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(torrent, directory: folder, ["--seed"])
    try ours.complete(content.bytes.count)
    // That something is due again and again shows in its coming.
    try wait(until: "it asks without an event") { tracker.questions.contains { $0["event"] == nil } }
    #expect(try ours.stop().status == 0)

    let size = content.bytes.count
    let questions = tracker.questions
    #expect(questions.compactMap { $0["event"] } == ["started", "completed", "stopped"])
    #expect(questions.first?["left"] == "\(size)")
    #expect(questions.first?["downloaded"] == "0")
    #expect(questions.last?["left"] == "0")
    #expect(questions.last?["downloaded"] == "\(size)")
    #expect(questions.allSatisfy { $0["uploaded"] == "0" && $0["compact"] == "1" })
    #expect(questions.allSatisfy { $0["port"] == "\(ours.port)" })
    #expect(Set(questions.map { $0["peer_id"] }).count == 1)
    #expect(questions.dropFirst().allSatisfy { $0["trackerid"] == "a%26%3D%25" })
    let hash = questions.first?["info_hash"].map(percentDecoded)
    #expect(hash == content.infoHash)
  }

  struct Answer: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var bytes: [UInt8]

    init(_ description: String, _ bytes: [UInt8]) {
      testDescription = description
      self.bytes = bytes
    }

    init(_ description: String, body: String) {
      self.init(description, body: Array(body.utf8))
    }

    init(_ description: String, body: [UInt8], status: String = "200 OK") {
      self.init(description, Array("HTTP/1.1 \(status)\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body)
    }

    static let bad = [
      Answer("nothing", []),
      Answer("no HTTP", Array("What?\r\n\r\n".utf8)),
      Answer("an error of HTTP", body: Array("d8:intervali1e5:peers0:e".utf8), status: "500 Oh"),
      Answer("nothing in it", body: ""),
      Answer("no bencoding", body: "<html>"),
      Answer("no dictionary", body: "i1e"),
      Answer("no end", body: "d5:peers1000:"),
      Answer("lists in lists", body: String(repeating: "l", count: 500_000)),
      Answer("too much", body: [UInt8](repeating: UInt8(ascii: "l"), count: 3 << 20)),
      Answer("a reason in three lines", body: "d14:failure reason12:one\ntwo\r\ntoee"),
    ]

    static let odd = [
      Answer("no peers", body: "de"),
      Answer(
        "one peer and a half",
        body: Array("d5:peers7:".utf8) + [127, 0, 0, 1, 0, 1, 7] + Array("e".utf8)
      ),
      Answer("port 0", body: Array("d5:peers6:".utf8) + [127, 0, 0, 1, 0, 0] + Array("e".utf8)),
      Answer("the time before", body: "d8:intervali-1000000e5:peers0:e"),
      Answer("the end of time", body: "d8:intervali9223372036854775807e5:peers0:e"),
      Answer(
        "peers that are none",
        body: "d5:peersl1:ai1elede2:xxd2:ip0:4:porti1eed2:ip1:\04:porti99999eeee"
      ),
      Answer("a host that is none", body: "d5:peersld2:ip11:no host/ % 4:porti6881eeee"),
      Answer("types that are others", body: "d8:interval1:a5:peersi1e10:tracker idlee"),
    ]
  }

  /// One of ours that asks that tracker, and gets everything from another peer.
  private func download(asking tracker: ScriptedTracker, until isDone: ([String]) -> Bool) throws {
    let content = try Content()
    let seeder = try ScriptedSeeder(of: content)
    let torrent = try Content.announce(content.torrent, to: tracker.url)
    let folder = try content.workplace.folder("ours")
    let ours = try RunningTorrent(torrent, directory: folder, ["--seed"] + seeder.option)
    if !isDone(ours.lines) {
      try ours.line("end") { _ in isDone(ours.lines) }
    }
    let end = try ours.stop()
    #expect(end.status == 0)
    #expect(end.errors == "")
    #expect(content.isComplete(in: folder))
    // What the tracker says is in lines of ours.
    let strange = ours.lines.filter { !$0.contains(/^(Tracker http:|content\.bin: |Dropped 127)/) }
    #expect(strange == [])
  }

  @Test("Bad answers are reported, and the download goes on", .needsTools, arguments: Answer.bad)
  func bad(answer: Answer) throws {
    let tracker = try ScriptedTracker(answer: answer.bytes)
    try download(asking: tracker) { lines in
      lines.contains { $0.contains(": complete,") }
        && lines.contains { $0.hasPrefix("Tracker \(tracker.url): ") && $0.count > tracker.url.count + 10 }
    }
  }

  @Test("Odd answers do no harm", .needsTools, arguments: Answer.odd)
  func odd(answer: Answer) throws {
    let tracker = try ScriptedTracker(answer: answer.bytes)
    try download(asking: tracker) { lines in
      lines.contains { $0.contains(": complete,") }
    }
    // Of which the last would not have come if the answers had not been good enough.
    let events = tracker.questions.compactMap { $0["event"] }
    #expect(events.first == "started")
    #expect(events.last == "stopped")
  }
}

/// The bytes that a part of an address encodes.
private func percentDecoded(_ text: String) -> [UInt8] {
  var bytes: [UInt8] = []
  var rest = Substring(text)
  while let first = rest.popFirst() {
    if first == "%", let byte = UInt8(rest.prefix(2), radix: 16) {
      bytes.append(byte)
      rest = rest.dropFirst(2)
    } else {
      bytes += Array(String(first).utf8)
    }
  }
  return bytes
}
