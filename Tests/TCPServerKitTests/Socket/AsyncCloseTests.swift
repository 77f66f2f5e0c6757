// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Connecting and closing with async/await", .timeLimit(.minutes(5)))
struct AsyncCloseTests {
  @Test("An orderly close delivers everything to a slow reader")
  func delivers() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.writeHighWaterMark = 16 << 20
      try await pair.socket.write([UInt8](repeating: 7, count: 8 << 20))
      #expect(pair.socket.bytesToWrite > 0)
      let closing = start { await pair.socket.closeGracefully() }
      var received = 0
      try await until {
        received += pair.client.receivedCount(atMost: 10_000)
        return pair.client.hasEnded
      }
      #expect(received == 8 << 20)
      // The peer's own end is the loop's to wait for.
      #expect(try await closing.value)
      #expect(pair.socket.state == .closing)
      pair.client.send("too late")
      await turns(3)
      #expect(pair.socket.state == .closing)
      pair.client.end()
      try await until { pair.socket.state == .unconnected }
      #expect(pair.client.hasEnded)
    }
  }

  @Test("A close has a deadline, and a cancelled one aborts at once")
  func deadline() async throws {
    try await onLoop { _ in
      let slow = try await Pair.full()
      let begin = ContinuousClock.now
      #expect(await !slow.socket.closeGracefully(timeout: .milliseconds(30)))
      #expect(ContinuousClock.now - begin >= .milliseconds(25))
      #expect(slow.socket.state == .unconnected)

      let other = try await Pair.full()
      let closing = start { await other.socket.closeGracefully() }
      await turns(3)
      #expect(other.socket.state == .closing)
      closing.cancel()
      #expect(try await !closing.value)
      #expect(other.socket.socketDescriptor == -1)
    }
  }

  @Test("Any number of tasks wait for the same close")
  func together() async throws {
    try await onLoop { _ in
      let pair = try await Pair.full()
      let closing = (0..<3).map { _ in start { await pair.socket.closeGracefully() } }
      await turns(3)
      closing[1].cancel()
      for task in closing { #expect(try await !task.value || pair.socket.state == .unconnected) }

      let other = try await Pair.full()
      let orderly = (0..<3).map { _ in start { await other.socket.closeGracefully() } }
      try await until {
        _ = other.client.receivedCount()
        return other.client.hasEnded
      }
      other.client.end()
      for task in orderly { #expect(try await task.value) }
    }
  }

  @Test("Closing what has ended is done already; what broke was not delivered")
  func ended() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      #expect(await pair.socket.closeGracefully())
      #expect(pair.client.nextInput() == .end)
      #expect(await pair.socket.closeGracefully())
      pair.client.end()
      try await until { pair.socket.state == .unconnected }
      #expect(await pair.socket.closeGracefully())
      let cut = try await Pair.full()
      cut.client.reset()
      _ = try? await cut.socket.read(maxLength: 1)
      #expect(await !cut.socket.closeGracefully())
    }
  }

  @Test("Without an event base it does not wait, and says what the kernel has not got")
  func withoutLoop() async throws {
    let (socket, peer) = try connectedPair(nil)
    while socket.bytesToWrite == 0 { socket.hold(1 << 20) }
    #expect(await !socket.closeGracefully())
    #expect(socket.state == .closing && socket.bytesToWrite > 0)
    withExtendedLifetime(peer) {}
  }

  // MARK: - Connecting

  @Test("Connects by address and by name")
  func connects() async throws {
    try await onLoop { _ in
      let server = TCPServer()
      #expect(server.listen())
      for host in ["127.0.0.1", "localhost"] {
        let client = TCPSocket()
        try await client.connect(to: host, port: server.serverPort, timeout: Loop.limit)
        #expect(client.state == .connected)
        let accepted = try #require(await server.accept())
        #expect(accepted.peerPort == client.localPort)
        await #expect(throws: SocketError.operation) {
          try await client.connect(to: host, port: server.serverPort)
        }
        #expect(client.errorString == "connect() called when already connected or connecting")
      }
    }
  }

  @Test("Connects to an address, where any means this machine", arguments: [HostAddress.localHost, .any])
  func connectsToAddress(address: HostAddress) async throws {
    try await onLoop { _ in
      let server = try listening()
      let client = TCPSocket()
      try await client.connect(to: address, port: server.serverPort, timeout: Loop.limit)
      #expect(client.peerAddress == .localHost)
      _ = try await server.accept()
    }
  }

  @Test("Says why it cannot connect")
  func refused() async throws {
    try await onLoop { _ in
      let closed = try ReservedPort()
      let port = closed.number
      let client = TCPSocket()
      await #expect(throws: SocketError.connectionRefused) {
        try await client.connect(to: "127.0.0.1", port: port)
      }
      // The space keeps a resolver from being asked, which may take its time.
      await #expect(throws: SocketError.hostNotFound) {
        try await client.connect(to: "no such host.invalid", port: port)
      }
      #expect(client.state == .unconnected)
      let server = try listening()
      try await client.connect(to: "127.0.0.1", port: server.serverPort)
      let loopless = TCPSocket(eventBase: nil)
      await #expect(throws: SocketError.operation) { try await loopless.connect(to: "127.0.0.1", port: 1) }
      #expect(
        loopless.errorString
          == "No event base to wait on: make the socket within EventBase.withThread(_:) or EventBase.run(_:)"
      )
      withExtendedLifetime(closed) {}
    }
  }

  @Test("An attempt that is not answered ends by its timeout, or at once when it is cancelled")
  func unanswered() async throws {
    try await onLoop { _ in
      // A full accept queue: a further client gets no answer.
      let listener = Descriptors.stream()
      defer { close(listener) }
      let endpoint = try #require(Endpoint("127.0.0.1", port: 0))
      #expect(endpoint.bind(listener) && listen(listener, 0) == 0)
      let port = try #require(Endpoint(localOf: listener)).port
      let queued = try #require(PlainClient(port: port))
      defer { queued.end() }
      #expect(Descriptors.waitReadable(listener))

      let client = TCPSocket()
      await #expect(throws: SocketError.socketTimeout) {
        try await client.connect(to: "127.0.0.1", port: port, timeout: .milliseconds(30))
      }
      #expect(client.state == .unconnected)
      let bound = LoopBound(client)
      let connecting = start { try await bound.value.connect(to: "127.0.0.1", port: port) }
      await turns(3)
      #expect(client.state == .connecting)
      connecting.cancel()
      await #expect(throws: CancellationError.self) { try await connecting.value }
      #expect(client.state == .unconnected)

      let givenUp = start { try await bound.value.connect(to: "127.0.0.1", port: port) }
      await turns(3)
      client.abort()
      await #expect(throws: SocketError.operation) { try await givenUp.value }
      #expect(client.errorString == "Connecting was given up by this program")
    }
  }
}

extension Pair {
  /// A pair whose client reads nothing, with more written than the kernel takes.
  static func full() async throws -> Pair {
    let pair = try await Pair()
    pair.socket.writeHighWaterMark = 64 << 20
    try await pair.socket.write([UInt8](repeating: 7, count: 16 << 20))
    try #require(pair.socket.bytesToWrite > 0)
    return pair
  }
}
