// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerKit

/// What a conversation with a scripted proxy gave: everything sent, and the events in order.
private struct Conversation {
  var handshake: SOCKS5Handshake
  var sent: [[UInt8]]
  var events: [String] = []
  var untaken: [UInt8] = []

  init(
    _ command: SOCKS5Handshake.Command = .bind,
    to destination: SOCKS5Handshake.Destination = .address(.anyIPv4, port: 0),
    user: String = ""
  ) {
    let credentials = user.isEmpty ? nil : SOCKS5Handshake.authenticationMessage(user: user, password: "pass")
    handshake = SOCKS5Handshake(command, to: destination, credentials: credentials)
    sent = [handshake.greeting]
  }

  /// Gives bytes in one piece, as far as they are taken.
  mutating func give(_ bytes: [UInt8]) {
    untaken += bytes
    while true {
      let isOver = handshake.bytesNeeded == 0
      let (taken, event) = handshake.receive(untaken)
      #expect(isOver ? taken == 0 : taken > 0 || untaken.isEmpty)
      untaken.removeFirst(taken)
      note(event)
      if taken == 0 { return }
    }
  }

  mutating func end() {
    note(handshake.endOfInput())
  }

  private mutating func note(_ event: SOCKS5Handshake.Event?) {
    switch event {
    case nil: break
    case .send(let bytes): sent.append(bytes)
    case .bound(let address, let port): events.append("bound \(address) \(port)")
    case .arrived(let address, let port): events.append("arrived \(address) \(port)")
    case .connected(let address, let port): events.append("connected \(address) \(port)")
    case .failed(let failure): events.append("\(failure.error.rawValue) \(failure.text)")
    }
  }
}

private let ipv4Reply: [UInt8] = [5, 0, 0, 1, 1, 2, 3, 4, 5, 6]
private let ipv6Reply: [UInt8] =
  [5, 0, 0, 4] + (0..<2).flatMap { _ in [1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef] } + [5, 6]
private let peerReply: [UInt8] = [5, 0, 0, 1, 192, 0, 2, 7, 0x12, 0x34]

@Suite("SOCKS5: the conversation")
struct SOCKS5HandshakeTests {
  // MARK: - What is sent

  @Test("Without credentials one method is offered, with them both")
  func greetings() {
    #expect(Conversation().sent == [[5, 1, 0]])
    #expect(Conversation(user: "me").sent == [[5, 2, 0, 2]])
  }

  @Test("BIND without authentication: greeting, request, and two replies")
  func bind() {
    var it = Conversation(.bind, to: .address(.anyIPv4, port: 0x1234))
    it.give([5, 0])
    #expect(it.sent == [[5, 1, 0], [5, 2, 0, 1, 0, 0, 0, 0, 0x12, 0x34]])
    it.give(ipv4Reply)
    #expect(it.events == ["bound 1.2.3.4 1286"])
    it.give(peerReply)
    #expect(it.events == ["bound 1.2.3.4 1286", "arrived 192.0.2.7 4660"])
    #expect(it.handshake.bytesNeeded == 0)
  }

  @Test("IPv6 goes as 16 bytes, an address of either family as IPv4's zeros")
  func addresses() throws {
    let destinations: [(HostAddress, [UInt8])] = [
      (
        try #require(HostAddress("2001:db8::1")),
        [4, 0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
      ),
      (.anyIPv6, [4] + [UInt8](repeating: 0, count: 16)), (.any, [1, 0, 0, 0, 0]),
      (try #require(HostAddress("192.0.2.1")), [1, 192, 0, 2, 1]),
    ]
    for (address, bytes) in destinations {
      var it = Conversation(.connect, to: .address(address, port: 80))
      it.give([5, 0])
      #expect(it.sent.last == [5, 1, 0] + bytes + [0, 80])
    }
  }

  @Test(
    "Names of 1 to 255 bytes are the proxy's to look up; others are refused",
    arguments: [0, 1, 255, 256]
  )
  func names(_ length: Int) {
    let name = [UInt8](repeating: 97, count: length)
    var it = Conversation(.connect, to: .name(name, port: 443))
    it.give([5, 0])
    if (1...255).contains(length) {
      #expect(it.sent.last == [5, 1, 0, 3, UInt8(length)] + name + [1, 187])
    } else {
      #expect(it.events == ["2 The host name is not 1 to 255 bytes long"])
    }
  }

  @Test("K06: the proxy chooses user and password")
  func authentication() {
    var it = Conversation(user: "me")
    it.give([5, 2])
    #expect(it.sent.last == [1, 2, 109, 101, 4] + Array("pass".utf8))
    it.give([1, 0])
    #expect(it.sent.last == [5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
    it.give(ipv4Reply)
    #expect(it.events == ["bound 1.2.3.4 1286"])
    var other = Conversation(user: "me")
    other.give([5, 2])
    other.give([5, 0])
    #expect(other.sent.last == [5, 2, 0, 1, 0, 0, 0, 0, 0, 0], "the wrong version, which curl takes as well")
  }

  @Test("User and password are 1 to 255 bytes each, whatever they consist of")
  func lengths() {
    let longest = String(repeating: "é", count: 127) + "x"
    #expect(longest.utf8.count == 255)
    let message = SOCKS5Handshake.authenticationMessage(user: longest, password: longest)
    #expect(message?.count == 513)
    #expect(SOCKS5Handshake.authenticationMessage(user: longest + "x", password: "p") == nil)
    #expect(SOCKS5Handshake.authenticationMessage(user: "u", password: longest + "x") == nil)
    #expect(SOCKS5Handshake.authenticationMessage(user: "", password: "p") == nil)
    #expect(SOCKS5Handshake.authenticationMessage(user: "u", password: "") == nil)
  }

  // MARK: - What comes

  @Test(
    "K04, K05: cut at every byte, each event comes with its last byte; an end before it is an error",
    arguments: [[], [2, 1, 0]],
    [ipv4Reply, ipv6Reply]
  )
  func everyPosition(_ login: [UInt8], _ reply: [UInt8]) {
    let method: [UInt8] = login.isEmpty ? [5, 0] : [5] + login
    let input = method + reply + peerReply + Array("mine".utf8)
    let address = reply == ipv4Reply ? "1.2.3.4" : "123:4567:89ab:cdef:123:4567:89ab:cdef"
    let all = ["bound \(address) 1286", "arrived 192.0.2.7 4660"]
    let (firstEnd, secondEnd) = (method.count + reply.count, input.count - 4)
    for cut in 0...input.count {
      var it = Conversation(user: login.isEmpty ? "" : "me")
      it.give(Array(input[..<cut]))
      let expected = cut < firstEnd ? [] : cut < secondEnd ? [all[0]] : all
      #expect(it.events == expected, "cut at \(cut)")
      if cut < secondEnd {
        var broken = it
        broken.end()
        #expect(broken.events == expected + ["15 Connection to proxy closed prematurely"])
        #expect(broken.handshake.bytesNeeded == 0)
      }
      it.give(Array(input[cut...]))
      #expect(it.events == all)
      #expect(it.untaken == Array("mine".utf8), "the user's")
    }
    var single = Conversation(user: login.isEmpty ? "" : "me")
    for byte in input { single.give([byte]) }
    #expect(single.events == all)
    #expect(single.untaken == Array("mine".utf8))
  }

  @Test(
    "K03: what the proxy may answer wrong, to whatever it was asked",
    arguments: [
      (user: "", input: [4] as [UInt8], event: "18 SOCKS version 5 protocol error"),
      ("", [4, 4, 4, 4], "18 SOCKS version 5 protocol error"),
      ("", [0x48, 0x54], "18 SOCKS version 5 protocol error"),
      ("", [5, 0xff], "12 Proxy authentication failed"), ("me", [5, 0xff], "12 Proxy authentication failed"),
      ("", [5, 0, 4], "18 SOCKS version 5 protocol error"),
      ("", [5, 0, 0x67, 0x61, 0x72], "18 SOCKS version 5 protocol error"),
      ("me", [5, 2, 1, 1], "12 Proxy authentication failed"),
      ("me", [5, 2, 5, 1], "12 Proxy authentication failed"),
      ("me", [5, 2, 4, 0], "18 SOCKS version 5 protocol error"),
      ("", [5, 0, 5, 0, 0, 3], "18 SOCKS version 5 protocol error"),
      ("", [5, 0, 5, 0, 0, 0], "18 SOCKS version 5 protocol error"),
      ("", [5, 0, 5, 0, 0, 2], "18 SOCKS version 5 protocol error"),
      ("", [5, 0, 5, 0, 0, 0xff], "18 SOCKS version 5 protocol error"),
    ]
  )
  func wrong(_ user: String, _ input: [UInt8], _ event: String) {
    var it = Conversation(user: user)
    it.give(input)
    #expect(it.events == [event])
    #expect(it.handshake.bytesNeeded == 0)
    it.give([5, 0, 0, 1])
    #expect(it.events == [event], "nothing more")
  }

  @Test("A method that was not offered is not accepted", arguments: 1...254 as ClosedRange<UInt8>)
  func method(_ method: UInt8) {
    for user in method == 2 ? [""] : ["", "me"] {
      var it = Conversation(user: user)
      it.give([5, method])
      #expect(
        it.events == [
          "3 Proxy authentication failed: the proxy chose authentication method \(method), which was not offered"
        ]
      )
      #expect(it.sent.count == 1)
    }
  }

  @Test("Offered credentials need not be asked for")
  func noneChosen() {
    var it = Conversation(user: "me")
    it.give([5, 0])
    #expect(it.sent.last == [5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
  }

  static let meanings: [UInt8: String] = [
    1: "7 General SOCKSv5 server failure", 2: "3 Connection not allowed by SOCKSv5 server",
    3: "7 Network unreachable", 4: "2 Host not found", 5: "0 Connection refused", 6: "7 TTL expired",
    7: "10 SOCKSv5 command not supported", 8: "10 Address type not supported",
    9: "-1 Unknown SOCKSv5 proxy error code 0x09", 0xff: "-1 Unknown SOCKSv5 proxy error code 0xff",
  ]

  @Test(
    "Every reply code is reported after its second byte, in the first reply, the second and that of CONNECT",
    arguments: 1...255 as ClosedRange<UInt8>
  )
  func replies(_ code: UInt8) throws {
    for (command, before) in [(.bind, []), (.bind, ipv4Reply), (.connect, [])]
      as [(SOCKS5Handshake.Command, [UInt8])]
    {
      var it = Conversation(command)
      it.give([5, 0] + before + [5, code])
      let event = try #require(it.events.last)
      if let meaning = Self.meanings[code] {
        #expect(event == meaning)
      } else {
        #expect(event.hasPrefix("-1 Unknown SOCKSv5 proxy error code 0x"))
      }
    }
  }

  @Test("CONNECT's reply may name the proxy's side; its length is checked")
  func nameInReply() {
    for length in [1, 255] as [UInt8] {
      var it = Conversation(.connect)
      it.give([5, 0, 5, 0, 7, 3, length] + [UInt8](repeating: 0xff, count: Int(length)) + [0, 80, 1])
      #expect(it.events == ["connected  80"])
      #expect(it.untaken == [1])
    }
    var empty = Conversation(.connect)
    empty.give([5, 0, 5, 0, 0, 3, 0])
    #expect(empty.events == ["18 SOCKS version 5 protocol error"])
  }

  @Test("An IPv4-mapped peer is reported as IPv4")
  func mapped() {
    var it = Conversation()
    it.give([5, 0, 5, 0, 0, 4] + [UInt8](repeating: 0, count: 10) + [0xff, 0xff, 192, 0, 2, 1, 0, 9])
    #expect(it.events == ["bound 192.0.2.1 9"])
  }

  @Test("No input makes it take more than the longest reply, or trap")
  func anything() {
    var generator = SystemRandomNumberGenerator()
    for round in 0..<2000 {
      var it = Conversation(round % 2 == 0 ? .bind : .connect, user: round % 3 == 0 ? "me" : "")
      var total = 0
      // Mostly well-formed, so that it gets somewhere.
      let script: [[UInt8]] = [[5, 0], [5, 2, 1, 0], [5, 0, 0, 1], [5, 0, 0, 4], [5, 0, 0, 3, 200]]
      for _ in 0..<20 {
        var piece = script.randomElement(using: &generator) ?? []
        if Int.random(in: 0..<4, using: &generator) == 0 {
          piece = (0..<Int.random(in: 0..<30, using: &generator)).map { _ in
            .random(in: 0...255, using: &generator)
          }
        }
        it.give(piece)
        total += piece.count - it.untaken.count
        it.untaken = []
        #expect((0...SOCKS5Handshake.longestReply).contains(it.handshake.bytesNeeded))
      }
      #expect(total <= 4 + 2 * SOCKS5Handshake.longestReply)
      #expect(it.events.count <= 3)
    }
  }

  @Test("Wiped bytes are gone")
  func wiping() {
    var secret: [UInt8] = Array("secret password".utf8)
    SOCKS5Handshake.wipe(&secret)
    #expect(secret.isEmpty)
    var it = Conversation(user: "someone")
    it.give([5, 0])
    #expect(!String(reflecting: it.handshake).contains("115, 111, 109, 101"), "not asked for, so not kept")
    var failed = Conversation(user: "someone")
    #expect(String(reflecting: failed.handshake).contains("115, 111, 109, 101"), "the check can see them")
    failed.give([4])
    #expect(!String(reflecting: failed.handshake).contains("115, 111, 109, 101"))
  }
}
