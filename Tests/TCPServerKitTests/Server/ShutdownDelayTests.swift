// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import TCPServerKit
import Testing

/// Delays that are to be skipped are of a thousand seconds: longer than any test may take.
@Suite("A shutdown with a delay", .timeLimit(.minutes(5)))
struct ShutdownDelayTests {
  @Test("Clients that come during the delay are all served, and after it none is accepted")
  func serves() async throws {
    try await onLoop { _ in
      // An address of its own: on 127.0.0.1 another test may take the port as soon as it is free.
      let address = "127.0.0.79"
      let server = TCPServer()
      try #require(server.listen(address: try #require(HostAddress(address))))
      let port = server.serverPort
      let (bound, shutdown) = (LoopBound(server), GracefulShutdown())
      let serving = start { try await bound.value.serve(shutdown: shutdown, handler: echoLines) }
      let early = (0..<3).compactMap { _ in PlainClient(address, port: port) }
      try await expectEcho(early)
      shutdown.begin(delay: .seconds(1000), timeout: .seconds(1000))
      #expect(shutdown.isAnnounced && !shutdown.hasBegun)
      await turns()
      let late = (0..<20).compactMap { _ in PlainClient(address, port: port) }
      #expect(late.count == 20)
      try await expectEcho(early + late)
      // The kernel completes these before the shutdown begins; the server may accept them after that.
      let last = (0..<5).compactMap { _ in PlainClient(address, port: port) }
      shutdown.begin(timeout: .seconds(1000))
      #expect(shutdown.hasBegun)
      for client in last { client.send("line\n") }
      try await until { !server.isListening }
      #expect(PlainClient(address, port: port) == nil)
      for client in early + late + last { client.endWriting() }
      let report = try await serving.value
      #expect(report.numbers == [28, 0, 28, 0])
      #expect((20...25).contains(report.acceptedWhileAnnounced))
      #expect(last.allSatisfy { $0.nextInput() == .bytes(Array("line\n".utf8)) })
      expectBalanced(server)
    }
  }

  @Test("The delay ends by itself, and clients that connected before are served")
  func endsByItself() async throws {
    try await onLoop { _ in
      let address = "127.0.0.80"
      let server = TCPServer()
      try #require(server.listen(address: try #require(HostAddress(address))))
      let port = server.serverPort
      let (bound, shutdown) = (LoopBound(server), GracefulShutdown())
      let serving = start { try await bound.value.serve(shutdown: shutdown, handler: echoLines) }
      let delay: Duration = .milliseconds(20)
      let begun = ContinuousClock.now
      shutdown.begin(delay: delay, timeout: .seconds(60))
      var served: UInt64 = 0
      while let client = PlainClient(address, port: port) {
        served += 1
        client.send("line\n")
        try await until { client.input() == .bytes(Array("line\n".utf8)) }
        client.endWriting()
      }
      #expect(ContinuousClock.now - begun >= delay)
      #expect(shutdown.hasBegun)
      let report = try await serving.value
      #expect(report.served == served && served > 0)
      #expect(report.cancelled == 0)
      expectBalanced(server)
    }
  }

  @Test("Without a delay, or with one below zero, it is announced when it begins", arguments: [0, -1])
  func noDelay(seconds: Int) async throws {
    let shutdown = GracefulShutdown()
    #expect(!shutdown.isAnnounced)
    shutdown.begin(delay: .seconds(seconds))
    #expect(shutdown.isAnnounced && shutdown.hasBegun)
    await shutdown.waitUntilAnnounced()
    await shutdown.waitUntilBegun()
  }

  @Test("waitUntilAnnounced() returns at the announcement, waitUntilBegun() after the delay")
  func waits() async throws {
    try await onLoop { _ in
      let (shutdown, announced, begun) = (GracefulShutdown(), Flag(), Flag())
      let onLoop = start {
        await shutdown.waitUntilAnnounced()
        announced.set()
      }
      let inPool = Task.detached { await shutdown.waitUntilAnnounced() }
      let waitingForBegin = start {
        await shutdown.waitUntilBegun()
        begun.set()
      }
      await turns()
      #expect(!announced.isSet)
      OtherThread { shutdown.begin(delay: .seconds(1000)) }.join()
      try await onLoop.value
      await inPool.value
      await shutdown.waitUntilAnnounced()
      await turns()
      #expect(!begun.isSet && !shutdown.hasBegun)
      shutdown.begin()
      try await waitingForBegin.value
    }
  }

  @Test("Cancelled, waitUntilAnnounced() returns, and the shutdown is not announced")
  func cancelledWait() async throws {
    try await onLoop { _ in
      let shutdown = GracefulShutdown()
      let waiting = start { await shutdown.waitUntilAnnounced() }
      await turns(3)
      waiting.cancel()
      try await waiting.value
      #expect(!shutdown.isAnnounced)
    }
  }

  @Test("Of the timeouts of the announcement and of the call that skips the delay, the shorter counts")
  func shorterTimeout() async throws {
    try await onLoop { base in
      for timeouts in [(1, 1000), (1000, 1)] {
        let server = try listening()
        let (bound, shutdown, ended) = (LoopBound(server), GracefulShutdown(), Flag())
        let serving = start {
          defer { ended.set() }
          return try await bound.value.serve(shutdown: shutdown) { _ in
            try await base.sleep(for: .seconds(1000))
          }
        }
        let client = try #require(PlainClient(to: server))
        try await until { server.statistics.delivered == 1 }
        fault_stop_clock()
        defer { fault_reset_clock() }
        shutdown.begin(delay: .seconds(1000), timeout: .seconds(timeouts.0))
        await turns()
        // The delay counts as none of the time.
        fault_advance_clock(5000)
        shutdown.begin(delay: .seconds(1000), timeout: .seconds(timeouts.1))
        #expect(shutdown.hasBegun)
        await turns()
        fault_advance_clock(995)
        await turns()
        #expect(!ended.isSet)
        fault_advance_clock(10)
        #expect(try await serving.value.numbers == [1, 0, 0, 1])
        withExtendedLifetime(client) {}
      }
    }
  }

  @Test("A third call ends the time of a shutdown whose delay was skipped")
  func thirdCall() async throws {
    try await onLoop { base in
      let server = try listening()
      let (bound, shutdown) = (LoopBound(server), GracefulShutdown())
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { _ in try await base.sleep(for: .seconds(1000)) }
      }
      let client = try #require(PlainClient(to: server))
      try await until { server.statistics.delivered == 1 }
      shutdown.begin(delay: .seconds(1000), timeout: .seconds(1000))
      shutdown.begin(timeout: .seconds(1000))
      await turns()
      #expect(!server.isListening && client.input() == .nothing)
      shutdown.begin(timeout: .zero)
      #expect(try await serving.value.numbers == [1, 0, 0, 1])
    }
  }

  @Test("A server that begins to serve during the delay accepts until it is over")
  func announcedBefore() async throws {
    try await onLoop { _ in
      let (server, shutdown) = (try listening(), GracefulShutdown())
      shutdown.begin(delay: .seconds(1000))
      let bound = LoopBound(server)
      let serving = start { try await bound.value.serve(shutdown: shutdown, handler: echoLines) }
      await turns()
      let clients = (0..<4).compactMap { _ in PlainClient(to: server) }
      try await expectEcho(clients)
      #expect(server.isListening)
      shutdown.begin()
      for client in clients { client.endWriting() }
      let report = try await serving.value
      #expect(report.served == 4 && report.cancelled == 0)
      #expect(report.acceptedWhileAnnounced == 4)
    }
  }

  enum End: CaseIterable {
    case cancelled, closed, otherShutdown
  }

  @Test("A server that is cancelled, closed or ended otherwise meanwhile ends then", arguments: End.allCases)
  func endedMeanwhile(_ end: End) async throws {
    try await onLoop { _ in
      let (server, shutdown, other) = (try listening(), GracefulShutdown(), GracefulShutdown())
      let bound = LoopBound(server)
      server.finish(on: other)
      let serving = start { try await bound.value.serve(shutdown: shutdown, handler: echoLines) }
      shutdown.begin(delay: .seconds(1000))
      await turns()
      let client = try #require(PlainClient(to: server))
      try await expectEcho([client])
      switch end {
      case .cancelled: serving.cancel()
      case .closed: server.close()
      case .otherShutdown: other.begin()
      }
      if end != .cancelled {
        await turns()
        client.endWriting()
      }
      let report = try await serving.value
      #expect(report.numbers == [1, 0, 0, end == .cancelled ? 1 : 0])
      #expect(report.acceptedWhileAnnounced == 1)
      #expect(report.cancelledPeers.map(\.port) == (end == .cancelled ? [client.port] : []))
      #expect(!server.isListening && !shutdown.hasBegun)
      expectBalanced(server)
    }
  }

  @Test("finish(on:) lets a server accept during the delay")
  func finishes() async throws {
    try await onLoop { _ in
      let (server, shutdown) = (try listening(), GracefulShutdown())
      server.finish(on: shutdown)
      let bound = LoopBound(server)
      let iterating = start {
        var count = 0
        for try await _ in bound.value.incomingConnections { count += 1 }
        return count
      }
      shutdown.begin(delay: .seconds(1000))
      // Called again during the delay, it waits for its end as well.
      server.finish(on: shutdown)
      await turns()
      try #require(server.isListening)
      let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.delivered == 3 }
      shutdown.begin()
      #expect(try await iterating.value == 3)
      withExtendedLifetime(clients) {}
    }
  }

  @Test("Two shutdowns: each ends its own server, and one of them two")
  func two() async throws {
    try await onLoop { _ in
      let (first, second) = (GracefulShutdown(), GracefulShutdown())
      let servers = try (0..<3).map { _ in try listening() }
      let servings = servers.enumerated().map { index, server in
        let bound = LoopBound(server)
        return start {
          try await bound.value.serve(shutdown: index == 0 ? first : second, handler: echoLines)
        }
      }
      first.begin(delay: .seconds(1000))
      second.begin(delay: .seconds(1000))
      await turns()
      second.begin()
      for serving in servings[1...] {
        #expect(try await serving.value.numbers == [0, 0, 0, 0])
      }
      #expect(servers.map(\.isListening) == [true, false, false])
      #expect(first.isAnnounced && !first.hasBegun)
      first.begin()
      #expect(try await servings[0].value.numbers == [0, 0, 0, 0])
    }
  }

  @Test("A shutdown that nothing refers to any more is released during its delay")
  func released() {
    weak var watched: GracefulShutdown?
    do {
      let shutdown = GracefulShutdown()
      watched = shutdown
      shutdown.begin(delay: .seconds(1000))
    }
    #expect(watched == nil)
  }

  @Test("Announced and begun by two threads at once, it has begun, and everything that waits returns")
  func race() async throws {
    try await onLoop { _ in
      for _ in 0..<200 {
        let (server, shutdown) = (try listening(), GracefulShutdown())
        let bound = LoopBound(server)
        let serving = start { try await bound.value.serve(shutdown: shutdown) { _ in } }
        let waiting = Task.detached {
          await shutdown.waitUntilAnnounced()
          await shutdown.waitUntilBegun()
        }
        let others = (0..<2).map { _ in OtherThread { shutdown.begin(delay: .seconds(1000)) } }
        #expect(try await serving.value.numbers == [0, 0, 0, 0])
        await waiting.value
        for other in others { other.join() }
        #expect(shutdown.hasBegun)
      }
    }
  }
}

@Sendable private func echoLines(_ socket: TCPSocket) async throws {
  while let line = try await socket.readLine() { try await socket.write(line) }
}

private func expectEcho(_ clients: [PlainClient]) async throws {
  for client in clients { client.send("line\n") }
  for client in clients {
    try await until { client.input() == .bytes(Array("line\n".utf8)) }
  }
}
