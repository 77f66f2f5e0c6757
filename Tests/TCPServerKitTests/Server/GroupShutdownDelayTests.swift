// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("A shutdown with a delay, on several loops", .timeLimit(.minutes(5)))
struct GroupShutdownDelayTests {
  @Test("Clients that come during the delay are served on all loops, and the report has their sum")
  func serves() async throws {
    try await onLoops(3) { group in
      // Each loop gets its share, however late it is.
      let server = TCPServerGroup(on: group, distribution: .roundRobin, stallLimit: nil)
      let address = "127.0.0.81"
      try await server.listen(address: try #require(HostAddress(address)))
      let port = server.serverPort
      let (shutdown, started, seen) = (GracefulShutdown(), Counter(), Counter())
      let serving = Task {
        try await server.serve(shutdown: shutdown) { socket in
          started.increment()
          if shutdown.isAnnounced && !shutdown.hasBegun { seen.increment() }
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      }
      let early = (0..<3).compactMap { _ in PlainClient(address, port: port) }
      // Its task may be late, where other tests occupy the pool.
      try await until { started.value == 3 }
      expectEcho(early)
      shutdown.begin(delay: .seconds(1000), timeout: .seconds(60))
      let late = (0..<30).compactMap { _ in PlainClient(address, port: port) }
      expectEcho(early + late)
      #expect(server.isListening && seen.value == 30)
      #expect(server.statisticsByLoop.allSatisfy { $0.delivered == 11 })
      shutdown.begin()
      // The loop that accepts closes its socket a moment after the group listens no longer.
      try await until { !server.isListening && PlainClient(address, port: port) == nil }
      for client in early + late { client.endWriting() }
      let report = try await serving.value
      #expect(report.served == 33 && report.cancelled == 0)
      #expect(report.acceptedWhileAnnounced == 30)
      expectBalanced(server)
    }
  }

  @Test("Announced before it serves, it accepts until the delay is over")
  func announcedBefore() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group)
      try await server.listen(address: .localHost)
      let (shutdown, started) = (GracefulShutdown(), Counter())
      shutdown.begin(delay: .seconds(1000), timeout: .seconds(60))
      let serving = Task {
        try await server.serve(shutdown: shutdown) { socket in
          started.increment()
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      }
      let clients = (0..<10).compactMap { _ in PlainClient(to: server) }
      try await until { started.value == 10 }
      expectEcho(clients)
      #expect(server.isListening)
      shutdown.begin()
      for client in clients { client.endWriting() }
      let report = try await serving.value
      #expect(report.served == 10 && report.cancelled == 0)
    }
  }

  @Test("Cancelled or closed during the delay, it ends then", arguments: [false, true])
  func endedMeanwhile(closed: Bool) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: .roundRobin)
      try await server.listen(address: .localHost)
      let (shutdown, started) = (GracefulShutdown(), Counter())
      let serving = Task {
        try await server.serve(shutdown: shutdown) { socket in
          started.increment()
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      }
      let early = try #require(PlainClient(to: server))
      try await until { started.value == 1 }
      expectEcho([early])
      shutdown.begin(delay: .seconds(1000))
      let late = (0..<4).compactMap { _ in PlainClient(to: server) }
      expectEcho(late)
      if closed {
        server.close()
        try await until { !server.isListening }
        for client in late + [early] { client.endWriting() }
      } else {
        serving.cancel()
      }
      let report = try await serving.value
      #expect(report.numbers == [5, 0, 0, closed ? 0 : 5])
      #expect(report.acceptedWhileAnnounced == 4)
      #expect(Set(report.cancelledPeers.map(\.port)) == Set(closed ? [] : (late + [early]).map(\.port)))
      #expect(!shutdown.hasBegun && !server.isListening)
      expectBalanced(server)
    }
  }
}

private func expectEcho(_ clients: [PlainClient]) {
  for client in clients { client.send("line\n") }
  for client in clients { #expect(text(client.receive(exactly: 5)) == "line\n") }
}
