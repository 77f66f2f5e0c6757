// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Identities that are looked up", .enabled(if: Certificates.canBeMade))
struct IdentityLookupTests {
  private static let trusting = {
    var configuration = SSLConfiguration()
    configuration.peerVerifyMode = .none
    return configuration
  }()

  /// A client that asks for a name, and verifies no certificate.
  private static func client(of server: TCPServer, _ name: String?) async throws -> TCPSocket {
    let socket = TCPSocket()
    try await socket.connect(to: "127.0.0.1", port: server.serverPort)
    try await socket.startClientEncryption(trusting, serverName: name, timeout: Loop.limit)
    return socket
  }

  @Test(
    "It is awaited, on the connection's loop, each time, and only for names that the configuration does not have"
  )
  func awaited() async throws {
    try await onLoop { base in
      let certificates = try #require(Certificates.shared)
      let names = Shared<[String?]>([])
      let other = try certificates.identity("other")
      try await whileServingEncrypted(
        {
          $0.identities = [try certificates.identity("localhost", serverNames: ["localhost"])]
          $0.identityLookup = { name in
            await Task.yield()
            #expect(EventBase.current === base)
            names.value.append(name)
            return other
          }
        },
        handler: echo
      ) { server in
        let known = try await Self.client(of: server, "localhost")
        #expect(names.value == [])
        for _ in 0..<2 {
          let client = try await Self.client(of: server, "Some.Example")
          #expect(client.encryption?.peerCertificates != known.encryption?.peerCertificates)
          try await client.write("hello")
          #expect(text(try await client.read(exactly: 5)) == "hello")
        }
        _ = try await Self.client(of: server, nil)
        #expect(names.value == ["Some.Example", "Some.Example", nil])
        try await until { server.handshakeStatistics.completed == 4 }
      }
    }
  }

  @Test("Nil is the default identity, and where there is none the client is refused")
  func noIdentity() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted({ $0.identityLookup = { _ in nil } }, handler: echo) { server in
        let client = try await Self.client(of: server, "some.example")
        #expect(client.encryption?.peerCertificates.count == 1)
        server.sslConfiguration.identities = []
        #expect(server.sslConfiguration.identities.isEmpty)
        do {
          _ = try await Self.client(of: server, "some.example")
          Issue.record("There was no certificate")
        } catch let error as SSLError {
          // unrecognized_name
          #expect(error.alert == 112)
        }
      }
    }
  }

  @Test("A thousand wait at once, and beside them others are served")
  func many() async throws {
    try await onLoop { _ in
      let identity = try #require(Certificates.shared).identity("other")
      let (asked, served, gate) = (Counter(), Counter(), Gate())
      try await whileServingEncrypted(
        {
          $0.identities = [
            try #require(Certificates.shared).identity("localhost", serverNames: ["localhost"])
          ]
          $0.identityLookup = { _ in
            asked.increment()
            await gate.pass()
            return identity
          }
        },
        handler: echo
      ) { server in
        let clients = (0..<1000).map { _ in
          start { [server] in
            let client = try await Self.client(of: server, "some.example")
            try await client.write("x")
            _ = try await client.read(exactly: 1)
            served.increment()
          }
        }
        try await until { asked.value == 1000 }
        #expect(server.handshakeStatistics.current == 1000)
        let other = try await encryptedClient(of: server)
        try await other.write("hello")
        #expect(text(try await other.read(exactly: 5)) == "hello")
        #expect(served.value == 0)
        gate.open()
        for client in clients { try await client.value }
        #expect(served.value == 1000)
        #expect(server.handshakeStatistics.completed == 1001)
      }
    }
  }

  /// Serves with a look-up that waits until it is cancelled.
  private func whileWaiting(
    _ body: @escaping @Sendable (SSLServer, _ asked: Counter, _ cancelled: Counter) async throws -> Void
  ) async throws {
    try await onLoop { base in
      let (asked, cancelled) = (Counter(), Counter())
      try await whileServingEncrypted(
        {
          $0.identityLookup = { _ in
            asked.increment()
            do { try await base.sleep(for: .seconds(3600)) } catch { cancelled.increment() }
            return nil
          }
        },
        handler: echo
      ) { server in
        try await body(server, asked, cancelled)
      }
      #expect(asked.value == cancelled.value)
    }
  }

  @Test("One that does not answer ends with the handshake's time, and is cancelled")
  func deadline() async throws {
    try await whileWaiting { server, asked, cancelled in
      let errors = Shared<[SocketError]>([])
      server.errorOccurred.connect { errors.value.append($0.error) }
      let client = start { [server] in try await Self.client(of: server, "some.example") }
      try await until { asked.value == 1 }
      server.handshakeTimeout = .milliseconds(1)
      await #expect(throws: (any Error).self) { try await client.value }
      try await until { cancelled.value == 1 }
      #expect(errors.value == [.socketTimeout])
      #expect(server.handshakeStatistics.timedOut == 1)
      #expect(server.statistics.live == 0)
      server.errorOccurred.disconnectAll()
    }
  }

  /// A first message for some.example.
  private static var clientHello: [UInt8] {
    func counted(_ bytes: [UInt8]) -> [UInt8] {
      [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes
    }
    let name = counted([0] + counted(Array("some.example".utf8)))
    let random = [UInt8](repeating: 1, count: 32)
    let suites = counted([0xc0, 0x2b, 0xc0, 0x2f])
    let hello = [3, 3] + random + [0] + suites + [1, 0] + counted([0, 0] + counted(name))
    return [22, 3, 1] + counted([1, 0] + counted(hello))
  }

  @Test("It is cancelled where the client ends the connection", arguments: [false, true])
  func clientEnds(resets: Bool) async throws {
    try await whileWaiting { server, asked, cancelled in
      let client = try #require(PlainClient(to: server))
      client.send(Self.clientHello)
      try await until { asked.value == 1 }
      if resets { client.reset() } else { client.end() }
      try await until { cancelled.value == 1 }
      #expect(server.handshakeStatistics.failed == 1)
      #expect(server.statistics.live == 0)
    }
  }

  @Test("It is cancelled where the client ends its side alone, behind bytes that are not read yet")
  func clientEndsItsSide() async throws {
    try await whileWaiting { server, asked, cancelled in
      let client = try #require(PlainClient(to: server))
      client.send(Self.clientHello)
      try await until { asked.value == 1 }
      client.send([22, 3, 3, 0, 1, 0])
      await turns()
      #expect(cancelled.value == 0)
      #expect(server.handshakeStatistics.current == 1)
      client.endWriting()
      try await until { cancelled.value == 1 }
      #expect(server.handshakeStatistics.failed == 1)
    }
  }

  @Test("It is cancelled where the server is closed")
  func serverCloses() async throws {
    try await whileWaiting { server, asked, cancelled in
      let client = start { [server] in try await Self.client(of: server, "some.example") }
      try await until { asked.value == 1 }
      server.close()
      try await until { cancelled.value == 1 }
      #expect(server.handshakeStatistics.closed == 1)
      await #expect(throws: (any Error).self) { try await client.value }
    }
  }

  @Test("An answer that comes too late is ignored, and holds nothing")
  func late() async throws {
    try await onLoop { _ in
      let (asked, gate, answered) = (Counter(), Gate(), Counter())
      try await whileServingEncrypted(
        {
          $0.identityLookup = { _ in
            asked.increment()
            await gate.pass()
            answered.increment()
            return nil
          }
        },
        handler: echo
      ) { server in
        weak var held: TCPSocket?
        server.startedEncryptionHandshake.connect { held = $0 }
        let client = start { [server] in try await Self.client(of: server, "some.example") }
        try await until { asked.value == 1 }
        #expect(held != nil)
        server.handshakeTimeout = .milliseconds(1)
        await #expect(throws: (any Error).self) { try await client.value }
        try await until { held == nil }
        gate.open()
        try await until { answered.value == 1 }
        #expect(server.handshakeStatistics.timedOut == 1)
        server.startedEncryptionHandshake.disconnectAll()
      }
    }
  }

  @Test("A connection that begins in the clear looks up, too")
  func startTLS() async throws {
    var configuration = SSLConfiguration()
    let identity = try #require(Certificates.shared).identity("localhost")
    configuration.identityLookup = { _ in
      await Task.yield()
      return identity
    }
    try await onLoop { [configuration] _ in
      _ = try await whileServing(handler: { socket in
        try await socket.startServerEncryption(configuration, after: "go\n", timeout: Loop.limit)
        try await echo(socket)
      }) { server in
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: server.serverPort)
        #expect(text(try await client.readLine()) == "go\n")
        try await client.startClientEncryption(
          Certificates.client(),
          serverName: "localhost",
          timeout: Loop.limit
        )
        try await client.write("hello")
        #expect(text(try await client.read(exactly: 5)) == "hello")
        client.finishWriting()
        #expect(try await client.read(maxLength: 1) == nil)
      }
    }
  }
}
