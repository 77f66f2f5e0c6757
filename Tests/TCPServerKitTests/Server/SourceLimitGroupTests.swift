// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerKit

@Suite("Limits for one source on several loops", .timeLimit(.minutes(5)))
struct SourceLimitGroupTests {
  private static let ways: [Distribution] = [.leastConnections, .sharedQueue, .shards]

  @Test("The loops of a group count together, and every end counts once", arguments: ways)
  func groups(_ distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        server.sourceLimits = SourceLimits(maxConnections: 6)
        server.acceptRate = AcceptRate(acceptsPerSecond: 100_000)
      }
      let report = try await whileServing(server) { socket in
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: {
        let clients = (0..<10).compactMap { _ in PlainClient(to: server) }
        try await until { server.statistics.rejectedBySourceLimit == 4 }
        let other = try #require(PlainClient("127.0.0.1", port: server.serverPort, from: "127.0.0.7"))
        other.send("ping\n")
        #expect(other.receive(exactly: 5) == Array("ping\n".utf8))
        let inUse = try await server.withAcceptor { $0.serverCore.limiting.sources?.sourcesInUse }
        #expect(inUse == 2)
        try await server.withAcceptor { $0.sourceLimits?.maxConnections = 7 }
        let more = (0..<2).compactMap { _ in PlainClient(to: server) }
        try await until { server.statistics.rejectedBySourceLimit == 5 }
        #expect(clients.count == 10 && more.count == 2)
      }
      #expect(report.served == 8)
      let inUse = try await server.withAcceptor { $0.serverCore.limiting.sources?.sourcesInUse }
      #expect(inUse == 0)
      expectBalanced(server)
    }
  }

  @Test(
    "Of a group that listens already the acceptor is given limits, and its members refuse them",
    arguments: ways
  )
  func laterInGroups(_ distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      try await server.listen(address: .localHost)
      try await server.withAcceptor { $0.sourceLimits = SourceLimits(maxConnections: 1) }
      try await server.withAcceptor { $0.acceptRate = AcceptRate(acceptsPerSecond: 100_000) }
      try await server.withServers { member, _ in
        member.sourceLimits = SourceLimits(maxConnections: 5)
        #expect(member.sourceLimits == nil)
        #expect(member.errorString == "The limit of a group is that of the server that accepts")
        member.acceptRate = AcceptRate(acceptsPerSecond: 5)
        #expect(member.acceptRate == nil)
      }
      let clients = (0..<4).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.rejectedBySourceLimit == 3 }
      try await server.withAcceptor { $0.sourceLimits = nil }
      let more = (0..<4).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.live == 5 }
      #expect(clients.count == 4 && more.count == 4)
      server.close()
      try await until { server.statistics.live == 0 }
      expectBalanced(server)
    }
  }

  @Test("The prefixes stay while connections count by them, on all loops", arguments: ways)
  func otherPrefixes(_ distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let limits = SourceLimits(maxConnections: 1, ipv4Prefix: 32)
      let wider = SourceLimits(maxConnections: 1, ipv4Prefix: 8)
      let server = TCPServerGroup(on: group, distribution: distribution) { $0.sourceLimits = limits }
      try await server.listen(address: .localHost)
      let client = try #require(PlainClient("127.0.0.1", port: server.serverPort, from: "127.0.0.7"))
      try await until { server.statistics.live == 1 }
      let refusal = try await server.withAcceptor { acceptor in
        acceptor.sourceLimits = wider
        return acceptor.sourceLimits == limits ? acceptor.errorString : "none"
      }
      #expect(refusal == "The connections of the server count in another table of sources")
      let others = (0..<4).compactMap { _ in PlainClient(to: server) }
      // A loop that has just fetched its connection counts it a little later.
      try await until { server.statistics.rejectedBySourceLimit == 3 && server.statistics.live == 2 }
      #expect(others.count == 4)
      server.close()
      try await until { server.statistics.live == 0 }
      let accepted = try await server.withAcceptor { acceptor in
        acceptor.sourceLimits = wider
        return acceptor.sourceLimits == wider
      }
      #expect(accepted)
      withExtendedLifetime((client, others)) {}
    }
  }

  @Test("A snapshot counts who was rejected")
  func snapshot() async throws {
    try await onLoops(1) { group in
      let server = TCPServerGroup(on: group) { $0.sourceLimits = SourceLimits(maxConnections: 1) }
      try await server.listen(address: .localHost)
      let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.rejectedBySourceLimit == 2 }
      let snapshot = await server.snapshot(patience: Loop.limit)
      #expect(snapshot.description.contains("rejected by source 2"))
      #expect(snapshot.json.contains("\"rejectedBySourceLimit\":2"))
      #expect(clients.count == 3)
      server.close()
      try await until { server.statistics.live == 0 }
      expectBalanced(server)
    }
  }
}
