// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Handshakes that make room for others", .enabled(if: Certificates.canBeMade))
struct HandshakeDropTests {
  @Test("A handler that closes the server when one is dropped ends the new one, too")
  func closes() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      server.handshakeTimeout = Loop.limit
      server.maxHandshakes = 1
      let begun = Counter()
      server.startedEncryptionHandshake.connect { [unowned server] socket in
        begun.increment()
        socket.disconnected.connect { [unowned server] in server.close() }
      }
      let first = try #require(PlainClient(to: server))
      try await until { begun.value == 1 }
      let second = try #require(PlainClient(to: server))
      try await until { first.input() != .nothing && second.input() != .nothing }
      let counted = server.handshakeStatistics
      #expect(counted.current == 0 && counted.dropped == 1 && counted.closed == 1)
      #expect(begun.value == 1)
      #expect(server.statistics.live == 0)
      server.startedEncryptionHandshake.disconnectAll()
      expectBalanced(server)
    }
  }

  @Test("A lower maxHandshakes holds at once")
  func lower() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        let clients = try (0..<4).map { _ in try #require(PlainClient(to: server)) }
        try await until { server.handshakeStatistics.current == 4 }
        let errors = Shared<[SocketError]>([])
        server.errorOccurred.connect { errors.value.append($0.error) }
        server.maxHandshakes = 0
        #expect(server.handshakeStatistics.current == 1 && server.handshakeStatistics.dropped == 3)
        #expect(errors.value == [.socketResource, .socketResource, .socketResource])
        try await until { clients[..<3].allSatisfy { $0.input() != .nothing } }
        #expect(clients[3].input() == .nothing)
        server.errorOccurred.disconnectAll()
      }
    }
  }

  @Test("Clients that send a byte and no more do not keep others out")
  func slow() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.maxHandshakes = 8
        let slow = try (0..<8).map { number in
          let client = try #require(PlainClient(to: server))
          client.send([22])
          return client
        }
        try await until { server.handshakeStatistics.current == 8 }
        await turns()
        for _ in 0..<8 {
          let client = try await encryptedClient(of: server)
          try await client.write("x")
          #expect(try await client.read(exactly: 1) == [120])
        }
        #expect(server.handshakeStatistics.completed == 8)
        withExtendedLifetime(slow) {}
      }
    }
  }
}
