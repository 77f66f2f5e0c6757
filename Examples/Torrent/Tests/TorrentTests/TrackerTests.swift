// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import BitTorrent

@Suite("Trackers")
struct TrackerTests {
  private func reply(_ text: String, _ tail: [UInt8] = []) throws(TrackerError) -> TrackerReply {
    try TrackerReply(Array(text.utf8) + tail)
  }

  @Test("Peers in the short form: six bytes each, eighteen with IPv6; what is left over is not one")
  func compact() throws {
    let records: [UInt8] = [192, 0, 2, 1, 0x1a, 0xe1, 127, 0, 0, 1, 0, 1, 9, 9, 9, 9, 0, 0, 5]
    let peers = try reply("d8:intervali900e5:peers19:", records + [UInt8(ascii: "e")]).peers
    #expect(peers.map(\.description) == ["192.0.2.1:6881", "127.0.0.1:1"])
    let ipv6: [UInt8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1a, 0xe1]
    let more = try reply("d6:peers618:", ipv6 + [UInt8(ascii: "e")]).peers
    #expect(more.map(\.description) == ["[2001:db8::1]:6881"])
  }

  @Test("Peers as dictionaries, of which those that make no sense are left out")
  func dictionaries() throws {
    let text =
      "d5:peersl" + "d2:ip9:127.0.0.14:porti6881ee" + "d2:ip11:example.org4:porti1ee" + "d2:ip1:x4:porti0ee"
      + "d2:ip1:x4:porti65536ee" + "d2:ip1:x4:porti-1ee" + "d2:ip0:4:porti1ee" + "d4:porti1ee" + "i7e" + "ee"
    #expect(try reply(text).peers.map(\.description) == ["127.0.0.1:6881", "example.org:1"])
  }

  @Test("The interval is taken as it is, from a second to a day")
  func interval() throws {
    #expect(try reply("d8:intervali900ee").interval == .seconds(900))
    #expect(try reply("d8:intervali0ee").interval == .seconds(1))
    #expect(try reply("d8:intervali-9223372036854775807ee").interval == .seconds(1))
    #expect(try reply("d8:intervali9223372036854775807ee").interval == .seconds(86_400))
    #expect(try reply("de").interval == .seconds(1800))
  }

  @Test("The tracker's failure reason is reported, and so is what is no reply")
  func failures() {
    #expect(throws: TrackerError("go away\u{fffd}")) { try reply("d14:failure reason8:go away\u{7}e") }
    #expect(throws: TrackerError.self) { try reply("<html>") }
    #expect(throws: TrackerError.self) { try reply("le") }
    #expect(throws: TrackerError.self) { try reply("") }
  }

  @Test("The number of peers is limited")
  func manyPeers() throws {
    let records = (0..<1000).flatMap { number -> [UInt8] in
      [10, 0, UInt8(number / 256), UInt8(number % 256), 1, 1]
    }
    #expect(try reply("d5:peers6000:", records + [UInt8(ascii: "e")]).peers.count == 500)
  }

  @Test("A request has everything in it, bytes escaped")
  func request() throws {
    let hash = try #require(
      SHA1Hash([0, 0xff, UInt8(ascii: "a"), UInt8(ascii: "&")] + Array(repeating: 7, count: 16))
    )
    var request = TrackerRequest(infoHash: hash, peerID: Array("-TK0100-abc".utf8), port: 6881, left: 5)
    let tail = String(repeating: "%07", count: 16)
    #expect(
      request.address(of: "http://t/announce")
        == "http://t/announce?info_hash=%00%FFa%26\(tail)&peer_id=-TK0100-abc&port=6881&uploaded=0&downloaded=0&left=5&compact=1&numwant=50"
    )
    request.event = .stopped
    request.trackerID = [UInt8(ascii: "=")]
    #expect(request.address(of: "HTTPS://t/?key=1")?.hasPrefix("HTTPS://t/?key=1&info_hash=") == true)
    #expect(request.address(of: "https://t/")?.hasSuffix("&event=stopped&trackerid=%3D") == true)
    #expect(request.address(of: "udp://t:80/announce") == nil)
    #expect(request.address(of: "") == nil)
  }

  @Test("A host and a port, with IPv6 in brackets")
  func endpoints() {
    #expect(Endpoint("localhost:80") == Endpoint(host: "localhost", port: 80))
    #expect(Endpoint("[::1]:80") == Endpoint(host: "::1", port: 80))
    for text in [
      "", ":", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "[]:80", "[host]:80", "host:x",
    ] {
      #expect(Endpoint(text) == nil, "\(text)")
    }
  }
}
