// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Relays", .timeLimit(.minutes(5)))
struct RelayTests {
  /// Two connections of a relay, and the peers of both. The second connection may live on another loop.
  private struct Ends: @unchecked Sendable {
    let a: Pair
    let b: (socket: TCPSocket, client: PlainClient)

    init(second base: EventBase? = .current) async throws {
      a = try await Pair()
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      var iterator = server.incomingConnections.makeAsyncIterator()
      let incoming = try #require(await iterator.next())
      b = (try incoming.socket(on: base), client)
    }

    func relay(idleTimeout: Duration? = nil) -> Task<RelayReport, any Error> {
      start { try await a.socket.relay(with: b.socket, idleTimeout: idleTimeout) }
    }

    /// Waits until neither socket has a connection any more.
    func untilEnded() async throws {
      try await until { a.socket.state == .unconnected && b.socket.state == .unconnected }
    }
  }

  /// Runs a test with both sockets on one loop, or on two.
  private func withEnds(
    onTwoLoops: Bool,
    _ body: @escaping @Sendable (EventBase, Ends) async throws -> Void
  ) async throws {
    guard onTwoLoops else {
      return try await onLoop { try await body($0, Ends()) }
    }
    try await EventBase.withThread { other in
      try await onLoop { try await body($0, Ends(second: other)) }
    }
  }

  private func untilReceived(_ bytes: String, by client: PlainClient) async throws {
    var received: [UInt8] = []
    try await until {
      if case .bytes(let more) = client.input() { received += more }
      return received.count >= bytes.utf8.count
    }
    #expect(text(received) == bytes)
  }

  /// Reads what comes, and expects what comes last.
  private func expectEnd(_ end: PlainClient.Input, of client: PlainClient) async throws {
    var input = PlainClient.Input.nothing
    try await until {
      input = client.input()
      if case .bytes = input { return false }
      return input != .nothing
    }
    #expect(input == end)
  }

  @Test("The end of one direction is passed on, and the other goes on", arguments: [false, true])
  func halfClose(onTwoLoops: Bool) async throws {
    try await withEnds(onTwoLoops: onTwoLoops) { _, ends in
      let relaying = ends.relay()
      ends.a.client.send("request")
      ends.a.client.endWriting()
      try await untilReceived("request", by: ends.b.client)
      try await expectEnd(.end, of: ends.b.client)
      ends.b.client.send("answer")
      try await untilReceived("answer", by: ends.a.client)
      ends.b.client.endWriting()
      #expect(try await relaying.value == RelayReport(forwarded: 7, returned: 6))
      try await expectEnd(.end, of: ends.a.client)
      try await ends.untilEnded()
    }
  }

  @Test("What was read ahead, and what a task has left unread, is passed on first")
  func leftovers() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      ends.a.client.send("head\nbody")
      let head = try await ends.a.socket.readLine()
      #expect(text(head) == "head\n")
      let relaying = ends.relay()
      try await untilReceived("body", by: ends.b.client)
      ends.a.client.endWriting()
      ends.b.client.endWriting()
      #expect(try await relaying.value == RelayReport(forwarded: 4))
    }
  }

  /// What goes on while a peer resets its connection.
  enum Moment: CaseIterable {
    case idle
    /// The other peer does not read what this one has sent.
    case heldUp
    /// This peer has ended its side.
    case halfClosed
    /// The other one has.
    case otherHalfClosed
  }

  @Test("A reset is passed on, whatever the relay waits for", arguments: Moment.allCases, [false, true])
  func reset(moment: Moment, bySecond: Bool) async throws {
    for onTwoLoops in [false, true] {
      try await withEnds(onTwoLoops: onTwoLoops) { _, ends in
        let (one, other) = bySecond ? (ends.b.client, ends.a.client) : (ends.a.client, ends.b.client)
        let relaying = ends.relay()
        switch moment {
        case .idle: await turns()
        case .heldUp: try await fill(one)
        case .halfClosed:
          one.endWriting()
          try await expectEnd(.end, of: other)
        case .otherHalfClosed:
          other.endWriting()
          try await expectEnd(.end, of: one)
        }
        one.reset()
        await #expect(throws: SocketError.remoteHostClosed) { try await relaying.value }
        // What had arrived before may still be read.
        if moment != .halfClosed { try await expectEnd(.failed(ECONNRESET), of: other) }
        try await ends.untilEnded()
      }
    }
  }

  /// Sends until nothing moves any more, because the peer on the other side of the relay does not read.
  private func fill(_ client: PlainClient) async throws {
    var still = 0
    while still < 50 {
      still = client.sendWhatFits(1 << 20) == 0 ? still + 1 : 0
      await turns(5)
    }
  }

  @Test("A peer that does not read holds up its own direction alone, and little is held for it")
  func slowPeer() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      ends.b.socket.setSocketOption(.sendBufferSize, 4096)
      let relaying = ends.relay()
      var sent = 0
      var still = 0
      while still < 50 {
        let count = ends.a.client.sendWhatFits(1 << 20)
        sent += count
        still = count == 0 ? still + 1 : 0
        await turns(5)
        try #require(ends.b.socket.bytesToWrite <= ends.b.socket.writeHighWaterMark)
      }
      // Read ahead is what came while no task read.
      #expect(ends.a.socket.bytesAvailable <= 16384 + 65536)
      ends.b.client.send("the other way")
      try await untilReceived("the other way", by: ends.a.client)
      ends.a.client.endWriting()
      ends.b.client.endWriting()
      var received = 0
      try await until {
        received += ends.b.client.receivedCount(atMost: 65536)
        return received == sent
      }
      #expect(try await relaying.value == RelayReport(forwarded: UInt64(sent), returned: 13))
    }
  }

  @Test("A cancelled relay resets both connections, at whichever moment", arguments: [false, true])
  func cancellation(onTwoLoops: Bool) async throws {
    var generator = SystemRandomNumberGenerator()
    let waits = (0..<60).map { $0 < 3 ? $0 : Int.random(in: 0..<40, using: &generator) }
    for wait in waits {
      try await withEnds(onTwoLoops: onTwoLoops) { _, ends in
        let relaying = ends.relay()
        for round in 0..<wait {
          _ = ends.a.client.sendWhatFits(1 << 14)
          _ = ends.b.client.sendWhatFits(1 << 18)
          if round % 3 == 0 { _ = ends.b.client.receivedCount(atMost: 1 << 14) }
          await Task.yield()
        }
        relaying.cancel()
        await #expect(throws: CancellationError.self, "after \(wait) turns") { try await relaying.value }
        try await ends.untilEnded()
        try await expectEnd(.failed(ECONNRESET), of: ends.a.client)
        try await expectEnd(.failed(ECONNRESET), of: ends.b.client)
      }
    }
  }

  @Test("1 MiB each way at once arrives as it was sent", arguments: [false, true])
  func bothWays(onTwoLoops: Bool) async throws {
    let (up, down) = (pattern(1 << 20), pattern(1 << 20, kind: 1))
    try await withEnds(onTwoLoops: onTwoLoops) { base, ends in
      let senders = [
        OtherThread {
          ends.a.client.send(up)
          ends.a.client.endWriting()
        },
        OtherThread {
          ends.b.client.send(down)
          ends.b.client.endWriting()
        },
      ]
      let receivers = [ends.b.client.readToEndElsewhere(), ends.a.client.readToEndElsewhere()]
      let before = base.statistics.jobsFromOtherThreads
      let report = try await ends.relay().value
      let fromElsewhere = base.statistics.jobsFromOtherThreads - before
      #expect(report == RelayReport(forwarded: 1 << 20, returned: 1 << 20))
      for sender in senders { sender.join() }
      #expect(receivers[0].join() == Delivery(bytes: up))
      #expect(receivers[1].join() == Delivery(bytes: down))
      // On one loop no piece changes the thread.
      if !onTwoLoops { #expect(fromElsewhere == 0) }
    }
  }

  @Test("A relay may be called by any task")
  func fromElsewhere() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      let relaying = Task.detached { try await ends.a.socket.relay(with: ends.b.socket) }
      ends.a.client.send("hello")
      try await untilReceived("hello", by: ends.b.client)
      ends.a.client.endWriting()
      ends.b.client.endWriting()
      #expect(try await relaying.value == RelayReport(forwarded: 5))
    }
  }

  @Test("Idle connections are reset after the timeout", arguments: [false, true])
  func idle(onTwoLoops: Bool) async throws {
    try await withEnds(onTwoLoops: onTwoLoops) { _, ends in
      let relaying = ends.relay(idleTimeout: .milliseconds(20))
      await #expect(throws: SocketError.socketTimeout) { try await relaying.value }
      try await expectEnd(.failed(ECONNRESET), of: ends.a.client)
      try await expectEnd(.failed(ECONNRESET), of: ends.b.client)
    }
  }

  @Test("Bytes one way are enough for a relay not to be idle")
  func busyOneWay() async throws {
    // A round in which the machine had no time for this test says nothing, and the next one takes longer.
    for milliseconds in [300, 300, 600, 1200, 2400, 4800, 9600] {
      let limit: Duration = .milliseconds(milliseconds)
      let hadTime = try await onLoop { _ in
        let ends = try await Ends()
        let relaying = ends.relay(idleTimeout: limit)
        let begin = ContinuousClock.now
        var (last, longest) = (begin, Duration.zero)
        while ContinuousClock.now - begin < limit * 2 {
          _ = ends.b.client.sendWhatFits(10)
          _ = ends.a.client.receivedCount()
          await Task.yield()
          longest = max(longest, .now - last)
          last = .now
        }
        guard longest < limit / 4 else {
          relaying.cancel()
          return false
        }
        ends.a.client.endWriting()
        ends.b.client.endWriting()
        do {
          let report = try await relaying.value
          #expect(report.returned > 0)
        } catch SocketError.socketTimeout where ContinuousClock.now - last >= limit / 4 {
          // Nor does one that was held up at its end.
          return false
        }
        return true
      }
      if hadTime { return }
    }
    Issue.record("No round had time")
  }

  @Test("A connection that the program ends takes the other with it", arguments: [false, true])
  func endedByProgram(second: Bool) async throws {
    for onTwoLoops in [false, true] {
      try await withEnds(onTwoLoops: onTwoLoops) { _, ends in
        let relaying = ends.relay()
        await turns()
        (second ? ends.b.socket : ends.a.socket).abort()
        await #expect(throws: SocketError.remoteHostClosed) { try await relaying.value }
        try await expectEnd(.failed(ECONNRESET), of: ends.a.client)
        try await expectEnd(.failed(ECONNRESET), of: ends.b.client)
      }
    }
  }

  @Test("A socket that handlers read, one without an event base, and a socket with itself are refused")
  func misuse() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      let socket = ends.a.socket
      await #expect(throws: SocketError.operation) { try await socket.relay(with: socket) }
      #expect(socket.errorString == "A relay of a socket with itself")
      await #expect(throws: SocketError.operation) {
        try await socket.relay(with: TCPSocket(eventBase: nil))
      }
      #expect(
        socket.errorString
          == "No event base to wait on: make the socket within EventBase.withThread(_:) or EventBase.run(_:)"
      )
      #expect(socket.state == .connected)
      ends.b.socket.readyRead.connect {}
      await #expect(throws: SocketError.operation) { try await ends.relay().value }
      try await ends.untilEnded()
    }
  }

  @Test("Sockets of a relay that is over are released")
  func release() async throws {
    try await onLoop { _ in
      weak var first: TCPSocket?
      weak var second: TCPSocket?
      do {
        let ends = try await Ends()
        (first, second) = (ends.a.socket, ends.b.socket)
        let relaying = ends.relay()
        ends.a.client.endWriting()
        ends.b.client.endWriting()
        _ = try await relaying.value
      }
      try await until { first == nil && second == nil }
    }
  }
}
