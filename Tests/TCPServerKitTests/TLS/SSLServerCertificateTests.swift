// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("The signals of SSLServer about certificates", .enabled(if: Certificates.canBeMade))
struct SSLServerCertificateTests {
  /// Serves clients whose certificate is by an authority that the server does not know.
  private func whileDoubting(
    _ mode: SSLPeerVerifyMode,
    _ body: @escaping @Sendable (SSLServer, _ connect: () async throws -> Bool) async throws -> Void
  ) async throws {
    let certificates = try #require(Certificates.shared)
    try await onLoop { _ in
      _ = try await whileServingEncrypted(
        {
          $0.peerVerifyMode = mode
          // Any other certificate than the client's authority.
          $0.caCertificates = Array(certificates.selfSigned.utf8)
        },
        handler: echo
      ) { server in
        try await body(server) { try await isServed(server, as: "client") }
      }
    }
  }

  @Test(
    "A faulty certificate is refused, unless a handler of sslErrors ignores that",
    arguments: [false, true]
  )
  func errors(isIgnored: Bool) async throws {
    try await whileDoubting(.verify) { server, connect in
      let seen = Shared<[String]>([])
      server.peerVerifyError.connect { seen.value.append("error \($0.error.verification != 0)") }
      server.sslErrors.connect { failed in
        #expect(failed.errors.count == 1)
        #expect(failed.errors.first?.text == "The certificate of the peer is not accepted")
        seen.value.append("errors")
        if isIgnored { failed.socket.ignoreSSLErrors() }
      }
      server.errorOccurred.connect { _ in seen.value.append("failed") }
      let isServed = try await connect()
      #expect(isServed == isIgnored)
      try await until { seen.value.count == (isIgnored ? 2 : 3) }
      #expect(seen.value == (isIgnored ? ["error true", "errors"] : ["error true", "errors", "failed"]))
    }
  }

  @Test("A configuration that is set during a handshake does not judge that one's certificate")
  func changedMeanwhile() async throws {
    try await whileDoubting(.verify) { server, connect in
      server.sslErrors.connect { [unowned server] _ in server.sslConfiguration.peerVerifyMode = .query }
      let isServed = try await connect()
      #expect(!isServed)
      #expect(server.sslConfiguration.peerVerifyMode == .query)
      let isServedLater = try await connect()
      #expect(isServedLater)
      server.sslErrors.disconnectAll()
    }
  }

  @Test("With .query a faulty certificate is reported, and accepted")
  func query() async throws {
    try await whileDoubting(.query) { server, connect in
      let seen = Counter()
      server.sslErrors.connect { _ in seen.increment() }
      let isServed = try await connect()
      #expect(isServed)
      #expect(seen.value == 1)
    }
  }

  @Test("A handshake that is interrupted goes on when the program says so", arguments: [false, true])
  func interrupted(isContinued: Bool) async throws {
    try await whileDoubting(.verify) { server, connect in
      let base = try #require(server.eventBase)
      server.handshakeInterruptedOnError.connect { failed in
        // What the client sends meanwhile waits.
        let bound = LoopBound(failed.socket)
        base.schedule(after: .milliseconds(1)) {
          if isContinued { bound.value.continueInterruptedHandshake() } else { bound.value.abort() }
        }
      }
      let isServed = try await connect()
      #expect(isServed == isContinued)
      #expect(server.handshakeStatistics.completed == (isContinued ? 1 : 0))
      #expect(server.handshakeStatistics.failed == (isContinued ? 0 : 1))
    }
  }

  @Test("Alerts that were sent, or came, are reported with their numbers")
  func alerts() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted({ $0.minimumVersion = .tls13 }, handler: echo) { server in
        let (sent, received) = (Shared<UInt8>(0), Shared<UInt8>(0))
        server.alertSent.connect { sent.value = $0.alert }
        server.alertReceived.connect { received.value = $0.alert }
        await #expect(throws: SSLError.self) {
          try await encryptedClient(of: server) { $0.maximumVersion = .tls12 }
        }
        try await until { sent.value != 0 }
        // protocol_version
        #expect(sent.value == 70)
        await #expect(throws: SSLError.self) {
          try await encryptedClient(of: server) { $0.caCertificates = [] }
        }
        try await until { received.value != 0 }
        // unknown_ca
        #expect(received.value == 48)
      }
    }
  }

  @Test("A handler that ends the connection hears no more of its certificate")
  func endedByHandler() async throws {
    let certificates = try #require(Certificates.shared)
    try await onLoop { _ in
      _ = try await whileServingEncrypted(
        {
          $0.peerVerifyMode = .verify
          $0.caCertificates = certificates.authority
        },
        handler: echo
      ) { server in
        let later = Counter()
        server.peerVerifyError.connect { $0.socket.abort() }
        server.sslErrors.connect { _ in later.increment() }
        server.handshakeInterruptedOnError.connect { _ in later.increment() }
        do {
          let client = try await encryptedClient(of: server) {
            $0.identities = [try certificates.identity("stranger")]
          }
          _ = try await client.read(maxLength: 1)
        } catch {}
        try await until { server.handshakeStatistics.failed == 1 }
        #expect(later.value == 0)
        server.peerVerifyError.disconnectAll()
        server.sslErrors.disconnectAll()
        server.handshakeInterruptedOnError.disconnectAll()
      }
    }
  }

  @Test("What handlers need, and cannot be made any more, is reported with its reason")
  func lateContext() async throws {
    let certificates = try #require(Certificates.shared)
    let folder = try TemporaryFolder()
    let path = folder.path(of: "authorities")
    @Sendable func write() {
      let file = unsafe fopen(path, "we")
      if let file = unsafe file {
        unsafe fwrite(certificates.authority, 1, certificates.authority.count, file)
        unsafe fclose(file)
      }
    }
    write()
    try await onLoop { _ in
      _ = try await whileServingEncrypted(
        {
          $0.peerVerifyMode = .query
          $0.caCertificatesFile = path
        },
        handler: echo
      ) { server in
        unsafe unlink(path)
        var reason = ""
        do throws(SSLError) { try server.sslConfiguration.checkForServer() } catch { reason = error.text }
        #expect(!reason.isEmpty)
        server.sslErrors.connect { _ in }
        for _ in 0..<2 {
          let client = try #require(PlainClient(to: server))
          try await until { client.input() != .nothing }
          #expect(server.serverError == .sslInvalidUserData && server.errorString == reason)
          // It is not read for each client.
          write()
        }
        try server.setSSLConfiguration(server.sslConfiguration)
        let client = try await encryptedClient(of: server)
        try await client.write("x")
        #expect(try await client.read(exactly: 1) == [120])
        server.sslErrors.disconnectAll()
      }
    }
    withExtendedLifetime(folder) {}
  }

  @Test("A handler that hears of a failed handshake may connect again, with the socket's settings")
  func connectsAgain() async throws {
    try await onLoop { _ in
      let plain = try listening()
      _ = try await whileServingEncrypted(handler: echo) { server in
        let socket = TCPSocket()
        try await socket.connect(to: "127.0.0.1", port: server.serverPort)
        let isConnected = Shared(false)
        socket.errorOccurred.connect { [unowned socket] _ in
          socket.abort()
          socket.connectToHost("127.0.0.1", port: plain.serverPort)
        }
        socket.connected.connect { isConnected.value = true }
        await #expect(throws: SSLError.self) {
          try await socket.startClientEncryption(SSLConfiguration(), serverName: "localhost")
        }
        try await until { isConnected.value }
        #expect(socket.state == .connected)
        #expect(socket.deliveryTimeout == .seconds(30))
      }
    }
  }
}
