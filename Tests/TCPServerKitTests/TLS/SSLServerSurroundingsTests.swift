// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("SSLServer with what comes before and beside TLS", .enabled(if: Certificates.canBeMade))
struct SSLServerSurroundingsTests {
  @Test("A PROXY header comes before TLS, and names the client")
  func proxied() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      server.proxyHeaderRequirement = try ProxyHeaderRequirement(
        from: ["127.0.0.0/8"],
        timeout: Loop.limit
      )
      let accepted = start { [server] in try await server.accept() }
      let client = TCPSocket()
      try await client.connect(to: "127.0.0.1", port: server.serverPort)
      try await client.write("PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n")
      try await client.startClientEncryption(
        Certificates.client(),
        serverName: "localhost",
        timeout: Loop.limit
      )
      let socket = try #require(try await accepted.value)
      #expect(socket.peerAddress == HostAddress("192.0.2.7"))
      #expect(socket.peerPort == 4711)
      #expect(socket.proxied != nil)
      #expect(socket.encryption?.serverName == "localhost")
      try await client.write("x")
      #expect(text(try await socket.read(exactly: 1)) == "x")
      server.close()
      expectBalanced(server)
    }
  }

  @Test("A client that offers other application protocols is refused")
  func otherProtocols() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted({ $0.applicationProtocols = ["one"] }, handler: echo) { server in
        await #expect(throws: SSLError.self) {
          try await encryptedClient(of: server) { $0.applicationProtocols = ["two"] }
        }
        let none = try await encryptedClient(of: server)
        #expect(none.encryption?.applicationProtocol == nil)
      }
    }
  }

  @Test("maxConnections counts connections in their handshake, and admits no more")
  func limit() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.maxConnections = 2
        let silent = try (0..<2).map { _ in try #require(PlainClient(to: server)) }
        try await until { server.handshakeStatistics.current == 2 }
        let waiting = start { [server] in try await encryptedClient(of: server) }
        await turns()
        #expect(server.statistics.live == 2)
        silent[0].end()
        let client = try await waiting.value
        #expect(server.statistics.live == 2)
        try await client.write("x")
        #expect(text(try await client.read(exactly: 1)) == "x")
      }
    }
  }

  @Test("A group that shuts down serves what was in its handshake", arguments: Distribution.eachWay)
  func groupShutdown(distribution: Distribution) async throws {
    let configuration = try Certificates.server()
    let shutdown = GracefulShutdown()
    let (begun, served) = (Counter(), Counter())
    try await onLoops { group in
      let server = TCPServerGroup(on: group, distribution: distribution, tls: configuration) { server in
        server.handshakeTimeout = Loop.limit
        server.startedEncryptionHandshake.connect { _ in begun.increment() }
      }
      try await server.listen(address: .localHost)
      let port = server.serverPort
      try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask {
          let report = try await server.serve(shutdown: shutdown) { socket in
            served.increment()
            try await socket.write("late")
          }
          // Its handler may be over before the shutdown has reached its loop.
          #expect(report.served == 1 && report.cancelled == 0)
        }
        tasks.addTask {
          try await onLoop { _ in
            let client = TCPSocket()
            try await client.connect(to: "127.0.0.1", port: port)
            try await until { begun.value == 1 }
            shutdown.begin(timeout: Loop.limit)
            try await until { !server.isListening }
            try await client.startClientEncryption(
              Certificates.client(),
              serverName: "localhost",
              timeout: Loop.limit
            )
            #expect(try await readToEnd(client) == Array("late".utf8))
            client.disconnectFromHost()
          }
        }
        try await tasks.waitForAll()
      }
      expectBalanced(server)
    }
    #expect(served.value == 1)
  }
}
