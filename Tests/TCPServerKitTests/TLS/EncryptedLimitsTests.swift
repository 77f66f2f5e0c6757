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

  @Test("The limit of the first byte counts what comes after the handshake")
  func firstByte() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.connectionPolicy = ConnectionPolicy(firstByte: .milliseconds(300))
        let silent = try await encryptedClient(of: server)
        // By a reset, or an end without TLS's own.
        await #expect(throws: SocketError.self) { try await silent.read(maxLength: 1) }
        #expect(server.statistics.firstByteTimeouts == 1)
        server.connectionPolicy = ConnectionPolicy(firstByte: .seconds(100_000))
        let talking = try await encryptedClient(of: server)
        try await talking.write("hello")
        #expect(try await talking.read(exactly: 5) == Array("hello".utf8))
      }
    }
  }

  @Test("In a shutdown a client whose handshake is complete has time for its first message")
  func firstMessage() async throws {
    try await onLoop { _ in
      let server = LoopBound(try listeningEncrypted())
      let shutdown = GracefulShutdown()
      let serving = start {
        try await server.value.serve(shutdown: shutdown) { socket in
          while try await socket.waitForMessage(), let line = try await socket.readLine() {
            try await socket.write(line)
          }
        }
      }
      let client = try await encryptedClient(of: server.value)
      try await until { server.value.statistics.live == 1 }
      await turns()
      shutdown.begin(timeout: .seconds(100_000))
      await turns()
      try await client.write("hello\n")
      #expect(try await client.readLine() == Array("hello\n".utf8))
      #expect(try await client.readLine() == nil)
      #expect(try await serving.value.endedInTime == 1)
    }
  }
}
