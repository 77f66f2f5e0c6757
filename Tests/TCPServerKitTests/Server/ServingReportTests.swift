// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("The report of serving: peers that were cut", .timeLimit(.minutes(5)))
struct ServingReportTests {
  @Test(
    "Peers of cancelled connections are named, a hundred at most, and all are counted",
    arguments: [2, 120]
  )
  func cancelledPeers(count: Int) async throws {
    try await onLoop { base in
      let server = try listening()
      let (bound, shutdown) = (LoopBound(server), GracefulShutdown())
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          // One that ends in time is not named.
          if try await socket.readLine() != nil { return }
          try await base.sleep(for: .seconds(1000))
        }
      }
      let inTime = try #require(PlainClient(to: server))
      let clients = (0..<count).compactMap { _ in PlainClient(to: server) }
      for client in clients { client.endWriting() }
      try await until { server.statistics.delivered == count + 1 }
      inTime.send("line\n")
      try await until { inTime.input() == .end }
      inTime.end()
      try await until { server.statistics.live == count }
      shutdown.begin(timeout: .zero)
      let report = try await serving.value
      #expect(report.cancelled == UInt64(count))
      let peers = report.cancelledPeers
      #expect(peers.count == min(count, 100) && Set(peers).count == peers.count)
      #expect(peers.allSatisfy { $0.address == .localHost })
      #expect(Set(peers.map(\.port)).isSubset(of: clients.map(\.port)))
    }
  }

  @Test("The peers of several loops are a hundred at most together")
  func cancelledPeersOfLoops() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: .roundRobin)
      try await server.listen(address: .localHost)
      let (shutdown, running) = (GracefulShutdown(), Counter())
      let serving = Task {
        try await server.serve(shutdown: shutdown) { socket in
          running.increment()
          while try await socket.readLine() != nil {}
          try await EventBase.current?.sleep(for: .seconds(1000))
        }
      }
      let clients = (0..<120).compactMap { _ in PlainClient(to: server) }
      for client in clients { client.endWriting() }
      try await until { running.value == 120 }
      shutdown.begin(timeout: .zero)
      let report = try await serving.value
      #expect(report.cancelled == 120)
      #expect(report.cancelledPeers.count == 100)
      #expect(Set(report.cancelledPeers.map(\.port)).isSubset(of: clients.map(\.port)))
    }
  }

  @Test("A peer is written with its port, an IPv6 address in brackets", arguments: ["127.0.0.1", "::1"])
  func description(address: String) async throws {
    try await onLoop { base in
      let server = TCPServer()
      guard server.listen(address: try #require(HostAddress(address))) else { return }
      let bound = LoopBound(server)
      let serving = start { try await bound.value.serve { _ in try await base.sleep(for: .seconds(1000)) } }
      let client = try #require(PlainClient(address, port: server.serverPort))
      try await until { server.statistics.delivered == 1 }
      serving.cancel()
      let place = address == "::1" ? "[::1]" : address
      #expect(try await serving.value.cancelledPeers.map(\.description) == ["\(place):\(client.port)"])
    }
  }
}
