// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerTLS
import Testing

@testable import TCPServerKit

/// What a client may hold that does not come through its handshake, and for how long.
@Suite("Limits of an SSLServer", .enabled(if: Certificates.canBeMade))
struct EncryptedLimitsTests {
  /// A ClientHello without a byte in it, which is answered by an alert.
  private static let badHello: [UInt8] = [22, 3, 1, 0, 4, 1, 0, 0, 0]

  private func isAlert(_ input: PlainClient.Input) -> Bool {
    if case .bytes(let bytes) = input { bytes.first == 21 } else { false }
  }

  @Test("A client that goes on sending after its alert is ended in time all the same")
  func talkative() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        let client = try #require(PlainClient(to: server))
        client.send(Self.badHello)
        try await until { server.handshakeStatistics.failed == 1 }
        #expect(server.statistics.live == 1)
        try await until { isAlert(client.input()) }
        try await until {
          client.send([0])
          return server.statistics.live == 0
        }
      }
    }
  }

  @Test("Each connection gives the place of its source back once, whatever becomes of its handshake")
  func places() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        var inUse: Int { server.serverCore.limiting.sources?.sourcesInUse ?? -1 }
        server.sourceLimits = SourceLimits(maxConnections: 1)
        var rejected: UInt64 = 0
        func expectFull() async throws {
          #expect(inUse == 1)
          let beyond = try #require(PlainClient(to: server))
          try await until { beyond.input() != .nothing }
          rejected += 1
          #expect(server.statistics.rejectedBySourceLimit == rejected)
        }

        let other = try #require(PlainClient(to: server))
        try await until { server.handshakeStatistics.current == 1 }
        try await expectFull()
        other.send("GET / HTTP/1.0\r\n\r\n")
        try await until { server.handshakeStatistics.notTLS == 1 }
        #expect(inUse == 0)

        let refused = try #require(PlainClient(to: server))
        refused.send(Self.badHello)
        try await until { isAlert(refused.input()) }
        try await expectFull()
        refused.end()
        try await until { inUse == 0 }

        let silent = try #require(PlainClient(to: server))
        try await until { server.handshakeStatistics.current == 1 }
        try await expectFull()
        server.handshakeTimeout = .milliseconds(1)
        try await until { server.handshakeStatistics.timedOut == 1 }
        #expect(inUse == 0)
        try await until { silent.input() != .nothing }
        server.handshakeTimeout = Loop.limit

        let client = try await encryptedClient(of: server)
        try await client.write("served")
        #expect(text(try await client.read(exactly: 6)) == "served")
        try await expectFull()
        client.finishWriting()
        #expect(try await readToEnd(client) == [])
        client.disconnectFromHost()
        try await until { inUse == 0 }
        #expect(server.statistics.live == 0)
      }
    }
  }
}
