// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// What was written reaches the peer as long as that makes progress; what does not is reported, and looks like it.
@Suite("Delivery", .timeLimit(.minutes(5)))
struct DeliveryTests {
  private static let size = 4 << 20

  /// Reads everything in pieces with a pause after each, and then ends.
  ///
  /// - Returns: how many bytes came, and the longest time between two pieces.
  private static func readSlowly(
    _ client: PlainClient,
    on base: EventBase,
    pause: Duration
  ) async throws -> (received: Int, longest: Duration) {
    var received = 0
    var (last, longest) = (ContinuousClock.now, Duration.zero)
    while !client.hasEnded {
      received += client.receivedCount(atMost: 200_000)
      longest = max(longest, .now - last)
      last = .now
      try await base.sleep(for: pause)
    }
    client.end()
    return (received, longest)
  }

  @Test(
    "A reader that is slower than the limit of silence, but steady, gets all, and so does one that pauses"
  )
  func slowReader() async throws {
    // A round in which the machine had no time for this test says nothing, and the next one takes longer.
    for seconds in [5, 5, 10, 20] {
      let limit: Duration = .seconds(seconds)
      let hadTime = try await onLoop { base in
        let wasSteady = Flag()
        let report = try await whileServing { socket in
          socket.deliveryTimeout = limit
          socket.hold(Self.size)
        } _: { server in
          let client = try #require(PlainClient(to: server, receiveBuffer: 131072))
          let begin = ContinuousClock.now
          let (received, longest) = try await Self.readSlowly(client, on: base, pause: limit / 10)
          guard longest < limit / 2 else { return }
          wasSteady.set()
          #expect(received == Self.size)
          #expect(ContinuousClock.now - begin > limit * 2, "twice the limit in all")
          try await until { server.statistics.live == 0 }
          #expect(server.statistics.undelivered == 0)
        }
        if wasSteady.isSet { #expect(report.undelivered == 0) }
        return wasSteady.isSet
      }
      if hadTime { return }
    }
    Issue.record("No round had time")
  }

  @Test("A reader that pauses for somewhat more than the silence gets all: its kernel has answered meanwhile")
  func pausingReader() async throws {
    try await onLoop(limit: .seconds(1000)) { _ in
      let report = try await whileServing { socket in
        socket.deliveryTimeout = .seconds(100)
        socket.hold(16 << 20)
      } _: { server in
        fault_stop_clock()
        defer { fault_reset_clock() }
        let client = try #require(PlainClient(to: server, receiveBuffer: 131072))
        try await until { server.statistics.delivered == 1 }
        // The first look begins to measure; then comes the silence, and a part of half as much again.
        for milliseconds: Int64 in [13_000, 110_000, 25_000] {
          fault_advance_clock(milliseconds)
          await turns()
        }
        #expect(server.statistics.live == 1)
        var received = 0
        try await until {
          received += client.receivedCount()
          return client.hasEnded
        }
        #expect(received == 16 << 20)
        client.end()
      }
      #expect(report.undelivered == 0)
    }
  }

  @Test("A peer that stops reading for good is reset after the silence, and the report counts it")
  func silentReader() async throws {
    try await onLoop { _ in
      let report = try await whileServing { socket in
        socket.deliveryTimeout = .milliseconds(100)
        socket.hold(16 << 20)
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { server.statistics.delivered == 1 && server.statistics.live == 0 }
        #expect(client.readToEnd().errnum == ECONNRESET)
        #expect(server.statistics.undelivered == 1)
      }
      #expect(report.undelivered == 1)
      #expect(report.failed == 0)
    }
  }

  @Test("Closing says why the peer has not got everything")
  func silentReaderText() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.deliveryTimeout = .milliseconds(100)
      pair.socket.hold(16 << 20)
      #expect(!(await pair.socket.closeGracefully()))
      #expect(pair.socket.errorString.contains("The peer did not take in time what was written"))
    }
  }

  @Test("A write beyond the limit of what is held fails, and leaves the connection where that is the policy")
  func fullWriteBuffer() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.hold(16 << 20)
      pair.socket.writeBufferLimit = WriteBufferLimit(bytes: 1, policy: .fail)
      #expect(pair.socket.bytesToWrite > 0)
      // In a closure without await, so that it is the write which does not wait.
      let write: (TCPSocket) -> Int = { $0.write("x") }
      #expect(write(pair.socket) == -1)
      #expect(pair.socket.error == .socketResource)
      #expect(pair.socket.errorString == "The peer is too slow: the write buffer is full")
      #expect(pair.socket.state == .connected)
      pair.socket.abort()
    }
  }

  @Test("A read that would wait within a transaction is refused")
  func readInTransaction() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.startTransaction()
      await #expect(throws: SocketError.operation) { _ = try await pair.socket.read(maxLength: 1) }
      #expect(pair.socket.errorString.contains("A read that waits within a transaction"))
    }
  }

  @Test("The same where the kernel has taken everything", arguments: [false, true])
  func silentWithAllInTheKernel(hasEnded: Bool) async throws {
    try await onLoop { _ in
      let report = try await whileServing { socket in
        socket.deliveryTimeout = .milliseconds(100)
        if hasEnded { while try await socket.readLine() != nil {} }
        // More than the client's kernel takes, and less than the largest buffer that any system allows.
        socket.setSocketOption(.sendBufferSize, 8 << 20)
        socket.hold(380_000)
        #expect(socket.bytesToWrite == 0)
      } _: { server in
        let client = try #require(PlainClient(to: server, receiveBuffer: 131072))
        if hasEnded { client.endWriting() }
        try await until { server.statistics.delivered == 1 && server.statistics.live == 0 }
        #expect(client.readToEnd().errnum == ECONNRESET)
      }
      #expect(report.undelivered == 1)
    }
  }

  @Test("Handlers get an error before the end")
  func error() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    socket.deliveryTimeout = .milliseconds(100)
    socket.hold(16 << 20)
    socket.disconnectFromHost()
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.events.suffix(2) == [.errorOccurred(.socketTimeout, .closing), .disconnected])
    #expect(peer.readToEnd().errnum == ECONNRESET)
  }

  @Test("Without a loop too")
  func withoutLoop() throws {
    let (socket, peer) = try connectedPair(nil)
    socket.deliveryTimeout = .milliseconds(100)
    socket.hold(16 << 20)
    socket.disconnectFromHost()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(socket.error == .socketTimeout)
    #expect(peer.readToEnd().errnum == ECONNRESET)
  }

  @Test("A peer that has everything, but does not end, is let go of in order after the silence")
  func peerThatDoesNotEnd() async throws {
    try await onLoop { _ in
      let report = try await whileServing { socket in
        socket.deliveryTimeout = .milliseconds(100)
        try await socket.write("bye")
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { server.statistics.delivered == 1 && server.statistics.live == 0 }
        #expect(client.readToEnd() == .whole(Array("bye".utf8)))
      }
      #expect(report.undelivered == 0)
    }
  }

  @Test("What the peer sent before a late loop looks is read, and keeps the connection")
  func lateLook() async throws {
    try await onLoop(limit: .seconds(2000)) { _ in
      let pair = try await Pair()
      fault_stop_clock()
      defer { fault_reset_clock() }
      pair.socket.deliveryTimeout = .seconds(100)
      pair.socket.disconnectFromHost()
      #expect(pair.client.nextInput() == .end)
      // It acknowledges the end, too, which the client's kernel may put off.
      pair.client.send("early")
      #expect(Descriptors.waitForBytes(pair.socket.socketDescriptor, 5))
      await turns()
      // The first look begins to measure, the second one gives the kernel's answers their time.
      for milliseconds: Int64 in [13_000, 110_000] {
        fault_advance_clock(milliseconds)
        await turns()
      }
      pair.client.send("late")
      #expect(Descriptors.waitForBytes(pair.socket.socketDescriptor, 4))
      fault_advance_clock(1_000_000)
      await turns()
      #expect(pair.socket.state == .closing)
      pair.client.endWriting()
      try await until { pair.socket.state == .unconnected }
      #expect(pair.client.input() == .end)
    }
  }

  @Test("The server's setting holds for its connections, a close's own for that one")
  func settings() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.deliveryTimeout = .milliseconds(50)
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      #expect(socket.deliveryTimeout == .milliseconds(50))
      socket.deliveryTimeout = .seconds(100)
      #expect(server.deliveryTimeout == .milliseconds(50))
      socket.hold(16 << 20)
      #expect(await !socket.closeGracefully(timeout: .milliseconds(60)))
      #expect(client.readToEnd().errnum == ECONNRESET)
      #expect(TCPSocket().deliveryTimeout == .seconds(30))
    }
  }

  // MARK: - Peers that still send

  @Test("An answer survives a client that goes on sending after it", arguments: [true, false])
  func stillSending(usesLoop: Bool) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(usesLoop ? loop.base : nil)
    let answer = pattern(1 << 20)
    peer.send("PUT")
    #expect(socket.waitForReadyRead(msec: 60_000))
    socket.write(answer)
    socket.disconnectFromHost()
    // The rest of an upload: nothing of it is there when the server ends.
    let client = LoopBound(peer)
    let upload = Background {
      var sent = 0
      for _ in 0..<20 {
        sent += client.value.send([UInt8](repeating: 1, count: 10_000))
        sched_yield()
      }
      let delivery = client.value.readToEnd()
      client.value.end()
      return (sent, delivery)
    }
    if usesLoop {
      #expect(loop.run { socket.state == .unconnected })
    } else {
      #expect(socket.waitForDisconnected(msec: 60_000))
    }
    let (sent, delivery) = upload.join()
    #expect(sent == 200_000)
    #expect(delivery == .whole(answer))
  }

  // MARK: - Resets

  @Test("abort() resets, whatever the connection is at", arguments: [0, 100, 16 << 20])
  func abort(count: Int) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.hold(count)
    socket.abort()
    #expect(peer.readToEnd().errnum == ECONNRESET)
  }

  @Test("A socket without a loop that is released with bytes it has not sent does not look complete")
  func released() throws {
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(nil)
    socket?.hold(16 << 20)
    socket = nil
    #expect(peer.readToEnd().errnum == ECONNRESET)
  }

  @Test("A connection that the deadline of a shutdown cuts is reset, and reported")
  func cutByDeadline() async throws {
    try await onLoop { _ in
      let server = try listening()
      let shutdown = GracefulShutdown()
      let client = try #require(PlainClient(to: server))
      let bound = LoopBound(server)
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          socket.hold(16 << 20)
          try await socket.waitUntilWritten()
        }
      }
      try await until { server.statistics.delivered == 1 }
      shutdown.begin(timeout: .milliseconds(50))
      let report = try await serving.value
      #expect(report.cancelled == 1)
      #expect(report.undelivered == 1)
      #expect(client.readToEnd().errnum == ECONNRESET)
    }
  }

  @Test("A shutdown does not wait for peers that have everything and do not end")
  func shutdownWithIdlePeers() async throws {
    try await onLoop { _ in
      let server = try listening()
      let shutdown = GracefulShutdown()
      let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
      let bound = LoopBound(server)
      let answered = Counter()
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          let line = try await socket.readLine()
          if line == nil { await shutdown.waitUntilBegun() }
          try await socket.write("bye")
          answered.increment()
        }
      }
      // One is closing already when it begins, one closes after it.
      clients[0].send("\n")
      clients[1].send("\n")
      clients[2].endWriting()
      try await until { answered.value == 2 }
      #expect(text(clients[0].receive(exactly: 3)) == "bye")
      shutdown.begin(timeout: .seconds(100))
      let report = try await serving.value
      #expect(report.cancelled == 0)
      #expect(report.undelivered == 0)
      for client in clients.dropFirst() { #expect(client.readToEnd() == .whole(Array("bye".utf8))) }
    }
  }
}
