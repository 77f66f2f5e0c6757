// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Which connections a server that ends takes for idle: those behind a proxy, at a path and in a relay, too.
@Suite("Idle connections of a server that ends", .timeLimit(.minutes(5)))
struct DrainReachTests {
  private static let header = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"

  /// Where clients connect to, and what they send first.
  enum Place: CaseIterable {
    case port, proxiedPort, path, proxiedPath
  }

  private struct Fixture {
    let server: TCPServer
    let folder: SocketFolder?
    let preface: String

    init(_ place: Place) throws {
      let folder = place == .path || place == .proxiedPath ? try SocketFolder() : nil
      server = try folder.map { try listening(at: $0) } ?? listening()
      self.folder = folder
      let isProxied = place == .proxiedPort || place == .proxiedPath
      preface = isProxied ? DrainReachTests.header : ""
      if isProxied {
        server.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["127.0.0.0/8", "unix:"])
      }
    }

    func client() throws -> PlainClient {
      let client = try #require(folder.map { PlainClient(path: $0.path) } ?? PlainClient(to: server))
      client.send(preface)
      return client
    }
  }

  private func serve(
    _ server: TCPServer,
    _ shutdown: GracefulShutdown,
    maxConnections: Int? = nil,
    waitsForMessages: Bool = true
  ) -> Task<ServingReport, any Error> {
    let bound = LoopBound(server)
    return start {
      try await bound.value.serve(maxConnections: maxConnections, shutdown: shutdown) { socket in
        while true {
          if waitsForMessages { guard try await socket.waitForMessage() else { return } }
          guard let line = try await socket.readLine() else { return }
          try await socket.write(line)
        }
      }
    }
  }

  private func expectAnswer(_ text: String, _ client: PlainClient) async throws {
    try await until { client.input() == .bytes(Array(text.utf8)) }
  }

  @Test("A first request that is on its way when the shutdown begins is answered", arguments: Place.allCases)
  func firstRequest(place: Place) async throws {
    // Again where this thread was stopped for longer than a client has for its first byte.
    try await onLoop { _ in
      while try await !sendsFirstRequestInTime(to: place) {}
    }
  }

  private func sendsFirstRequestInTime(to place: Place) async throws -> Bool {
    let (fixture, shutdown) = (try Fixture(place), GracefulShutdown())
    let serving = serve(fixture.server, shutdown)
    let begun = ContinuousClock.now
    let client = try fixture.client()
    try await until { fixture.server.statistics.delivered == 1 }
    await turns()
    shutdown.begin(timeout: .seconds(1000))
    await turns()
    client.send("one\n")
    let isInTime = ContinuousClock.now - begun < .milliseconds(900)
    var answer = PlainClient.Input.nothing
    try await until {
      answer = client.input()
      return answer != .nothing
    }
    let isAnswered = answer == .bytes(Array("one\n".utf8))
    if isAnswered { try await until { client.input() == .end } }
    client.end()
    let report = try await serving.value
    #expect(report.numbers == [1, 0, 1, 0])
    #expect(isAnswered || !isInTime, "\(answer)")
    return isAnswered || isInTime
  }

  @Test(
    "A client that has sent nothing is ended after a second, behind a proxy, too",
    arguments: Place.allCases
  )
  func silent(place: Place) async throws {
    try await onLoop { _ in
      // A UNIX socket does not say what has come: without waitForMessage() its client has until the deadline.
      for waitsForMessages in place == .path || place == .proxiedPath ? [true] : [true, false] {
        let (fixture, shutdown) = (try Fixture(place), GracefulShutdown())
        let serving = serve(fixture.server, shutdown, waitsForMessages: waitsForMessages)
        let client = try fixture.client()
        try await until { fixture.server.statistics.delivered == 1 }
        shutdown.begin(timeout: .seconds(1000))
        try await until { client.input() == .end }
        client.end()
        #expect(try await serving.value.numbers == [1, 0, 1, 0])
      }
    }
  }

  @Test(
    "A connection that was served late has the idle time for its first request",
    arguments: Place.allCases
  )
  func servedLate(place: Place) async throws {
    try await onLoop { _ in
      let (fixture, shutdown) = (try Fixture(place), GracefulShutdown(idleTime: .seconds(1000)))
      let serving = serve(fixture.server, shutdown, maxConnections: 1)
      let (first, second) = (try fixture.client(), try fixture.client())
      first.send("half")
      try await until { fixture.server.statistics.delivered == 1 }
      try await until { fixture.server.hasPendingConnections }
      shutdown.begin(timeout: .seconds(2000))
      // A line that ends before the loop has come to the shutdown leaves the connection idle as the shutdown begins.
      try await until { !fixture.server.isListening }
      first.send("\n")
      try await expectAnswer("half\n", first)
      try await until { first.input() == .end }
      first.end()
      try await until { fixture.server.statistics.delivered == 2 }
      await turns()
      second.send("two\n")
      try await expectAnswer("two\n", second)
      try await until { second.input() == .end }
      second.end()
      #expect(try await serving.value.numbers == [2, 0, 2, 0])
    }
  }

  @Test(
    "An idle time that is as long as the shutdown, or becomes that, leaves idle clients time to end",
    arguments: [false, true]
  )
  func longIdleTime(isShortened: Bool) async throws {
    try await onLoop { _ in
      let (server, shutdown) = (try listening(), GracefulShutdown(idleTime: .seconds(4)))
      let serving = serve(server, shutdown)
      let client = try #require(PlainClient(to: server))
      client.send("one\n")
      try await expectAnswer("one\n", client)
      // The client has a second and a quarter, within which this thread may be stopped.
      fault_stop_clock()
      defer { fault_reset_clock() }
      shutdown.begin(timeout: .seconds(isShortened ? 1000 : 4))
      if isShortened { shutdown.begin(timeout: .seconds(4)) }
      await turns()
      var milliseconds = 0
      while client.input() == .nothing, milliseconds < 4000 {
        milliseconds += 50
        fault_advance_clock(50)
        await turns()
      }
      #expect(milliseconds < 4000)
      client.end()
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
    }
  }

  @Test("A relay whose client reads slowly is not idle")
  func slowRelay() async throws {
    try await onLoop { base in
      let (server, upstream, shutdown) = (try listening(), try listening(), GracefulShutdown())
      let (bound, port) = (LoopBound(server), upstream.serverPort)
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { client in
          let other = TCPSocket()
          try await other.connect(to: "127.0.0.1", port: port)
          try await client.relay(with: other)
        }
      }
      let client = try #require(PlainClient(to: server, receiveBuffer: 65536))
      client.send("a request")
      let source = try #require(try await upstream.accept())
      #expect(text(try await source.read(exactly: 9)) == "a request")
      let size = 64 << 20
      let sending = start { try await source.write([UInt8](repeating: 1, count: size)) }
      var (last, still) = (-1, 0)
      while still < 50 {
        let now = source.bytesToWrite
        still = now == last && now > 0 ? still + 1 : 0
        last = now
        await turns(5)
      }
      shutdown.begin(timeout: .seconds(1000))
      try await base.sleep(for: .milliseconds(1200))
      // The end would arrive here.
      let ended = start { try await source.read(maxLength: 1) }
      await turns()
      #expect(!source.hasEnd, "The relay has ended the client's side")
      // A client that reads is silent when this thread is stopped, and its relay idle then.
      fault_stop_clock()
      defer { fault_reset_clock() }
      let rest = start { try await sending.value }
      var received = 0
      try await until {
        #expect(!source.hasEnd, "The relay has ended the client's side")
        received += client.receivedCount(atMost: 1 << 20)
        return received == size || source.hasEnd
      }
      #expect(received == size)
      #expect(try await rest.value == size)
      fault_reset_clock()
      #expect(try await ended.value == nil)
      source.disconnectFromHost()
      client.end()
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
    }
  }
}

extension TCPSocket {
  /// The peer has ended its side.
  fileprivate var hasEnd: Bool {
    state != .connected
  }
}
