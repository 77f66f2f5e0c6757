// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import BitTorrent

@Suite("Wire machine")
struct WireMachineTests {
  private static let hash = Array(repeating: UInt8(7), count: 20)
  private static let peerID = Array("-XX0001-abcdefghijkl".utf8)
  private static let layout = PieceLayout(totalLength: 100_000, pieceLength: 32_768)

  private static var handshake: [UInt8] {
    Handshake.prefix + [0, 0, 0, 0, 0, 0x10, 0, 0xff] + hash + peerID
  }

  /// Every kind of message, and unknown ones between them.
  private static let messages: [PeerMessage] = [
    .keepAlive, .bitfield([0xf0]), .choke, .unchoke, .interested, .notInterested, .have(3),
    .request(Block(piece: 1, begin: 16_384, length: 16_384)), .piece(3, begin: 1000, data: [1, 2, 3]),
    .cancel(Block(piece: 3, begin: 0, length: 1696)), .keepAlive,
  ]

  private static var conversation: [UInt8] {
    handshake + [0, 0, 0, 1, 20] + messages.flatMap(\.encoded) + [0, 0, 0, 3, 99, 1, 2]
      + PeerMessage.choke.encoded
  }

  private static var events: [WireMachine.Event] {
    [SHA1Hash(hash).map { .infoHash($0) }, .peerID(peerID)].compactMap(\.self)
      + (messages + [.choke]).map { .message($0) }
  }

  private static func events(of portions: [[UInt8]]) throws(WireMachine.Failure) -> [WireMachine.Event] {
    var machine = WireMachine()
    machine.layout = layout
    var events: [WireMachine.Event] = []
    for portion in portions {
      machine.receive(portion)
      while let event = try machine.next() {
        events.append(event)
      }
    }
    return events
  }

  @Test("A conversation is the same wherever it is cut in two, and byte by byte")
  func splits() throws {
    let all = Self.conversation
    for cut in all.indices {
      #expect(try Self.events(of: [Array(all[..<cut]), Array(all[cut...])]) == Self.events)
    }
    #expect(try Self.events(of: all.map { [$0] }) == Self.events)
  }

  @Test("The info hash is known after 48 bytes, the peer ID after 68")
  func handshake() throws {
    let hash = try #require(SHA1Hash(Self.hash))
    let portions = [0..<47, 47..<48, 48..<67, 67..<68].map { Array(Self.handshake[$0]) }
    #expect(try Self.events(of: Array(portions[..<1])) == [])
    #expect(try Self.events(of: Array(portions[..<2])) == [.infoHash(hash)])
    #expect(try Self.events(of: Array(portions[..<3])) == [.infoHash(hash)])
    #expect(try Self.events(of: portions) == [.infoHash(hash), .peerID(Self.peerID)])
  }

  @Test("What is no handshake is reported at its first wrong byte")
  func noHandshake() {
    for index in Handshake.prefix.indices {
      var bytes = Array(Handshake.prefix[...index])
      bytes[index] ^= 0x20
      #expect(throws: WireMachine.Failure.noHandshake) { try Self.events(of: [bytes]) }
      #expect(throws: WireMachine.Failure.noHandshake) { try Self.events(of: bytes.map { [$0] }) }
    }
  }

  @Test("Our own handshake is read as it was written")
  func ownHandshake() throws {
    let hash = try #require(SHA1Hash(Self.hash))
    let bytes = Handshake(infoHash: hash, peerID: Self.peerID).encoded
    #expect(bytes.count == Handshake.length)
    #expect(try Self.events(of: [bytes]) == [.infoHash(hash), .peerID(Self.peerID)])
  }

  @Test(
    "Messages of a wrong length are malformed, which is reported before they have come",
    arguments: [
      ([0, 0, 0, 2, 0], "choke"), ([0, 0, 0, 9, 1], "unchoke"), ([0, 0, 0, 2, 2], "interested"),
      ([0, 0, 0, 2, 3], "not interested"), ([0, 0, 0, 4, 4], "have"), ([0, 0, 0, 6, 4], "have"),
      ([0, 0, 0, 1, 5], "bitfield"), ([0, 0, 0, 3, 5], "bitfield"), ([0, 0, 0, 12, 6], "request"),
      ([0, 0, 0, 14, 6], "request"), ([0, 0, 0, 9, 7], "piece"), ([0, 0, 0, 1, 7], "piece"),
      ([0, 0, 0, 12, 8], "cancel"),
    ] as [([UInt8], String)]
  )
  func lengths(_ bytes: [UInt8], _ kind: String) {
    #expect(throws: WireMachine.Failure.malformed(kind)) { try Self.events(of: [Self.handshake + bytes]) }
  }

  @Test(
    "What is not in the torrent is malformed",
    arguments: [
      (.have(4), "have"), (.have(Int(UInt32.max)), "have"),
      (.request(Block(piece: 4, begin: 0, length: 1)), "request"),
      (.request(Block(piece: 0, begin: 32_768, length: 1)), "request"),
      (.request(Block(piece: 0, begin: 0, length: 0)), "request"),
      (.request(Block(piece: 0, begin: 1, length: 32_768)), "request"),
      (.request(Block(piece: 0, begin: Int(UInt32.max), length: Int(UInt32.max))), "request"),
      (.cancel(Block(piece: 0, begin: 0, length: Int(UInt32.max))), "cancel"),
      (.piece(3, begin: 1690, data: [1, 2, 3, 4, 5, 6, 7]), "piece"),
      (.piece(4, begin: 0, data: [1]), "piece"),
    ] as [(PeerMessage, String)]
  )
  func ranges(_ message: PeerMessage, _ kind: String) {
    #expect(throws: WireMachine.Failure.malformed(kind)) {
      try Self.events(of: [Self.handshake + message.encoded])
    }
  }

  @Test("A message of more than 200000 bytes is reported by its length, of any kind")
  func tooLong() throws {
    let longest: [UInt8] = [0, 3, 0x0d, 0x40]
    #expect(try Self.events(of: [Self.handshake + longest]).count == 2)
    #expect(throws: WireMachine.Failure.tooLong(200_001)) {
      try Self.events(of: [Self.handshake + [0, 3, 0x0d, 0x41]])
    }
    #expect(throws: WireMachine.Failure.tooLong(0xffff_ffff)) {
      try Self.events(of: [Self.handshake + [0xff, 0xff, 0xff, 0xff]])
    }
  }

  @Test("A request for more than 128 KiB is malformed")
  func longRequest() {
    var machine = WireMachine()
    machine.layout = PieceLayout(totalLength: 1 << 20, pieceLength: 1 << 20)
    machine.receive(Self.handshake + PeerMessage.request(Block(piece: 0, begin: 0, length: 131_073)).encoded)
    #expect(throws: WireMachine.Failure.malformed("request")) {
      while try machine.next() != nil {}
    }
  }

  @Test("No bytes trap: 20,000 conversations with bytes changed at random")
  func random() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      var bytes = Self.conversation
      for _ in 0..<Int.random(in: 1...8, using: &generator) {
        bytes[Int.random(in: Handshake.length..<bytes.count, using: &generator)] = .random(in: .min ... .max)
      }
      _ = try? Self.events(of: [bytes])
    }
  }
}
