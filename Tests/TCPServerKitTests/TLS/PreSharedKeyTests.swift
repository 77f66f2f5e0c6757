// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Pre-shared keys", .enabled(if: Certificates.canBeMade))
struct PreSharedKeyTests {
  private static let key = Array("0123456789abcdef".utf8)

  /// A client that has the key of device-1, or another one.
  private static func client(
    of server: TCPServer,
    _ version: SSLVersion,
    identity: String = "device-1",
    key: [UInt8] = key,
    serverName: String? = nil
  ) async throws -> TCPSocket {
    var configuration = SSLConfiguration()
    configuration.maximumVersion = version
    configuration.preSharedKeyHandler = {
      $0.identity = identity
      $0.preSharedKey = key
    }
    let socket = TCPSocket()
    try await socket.connect(to: "127.0.0.1", port: server.serverPort)
    try await socket.startClientEncryption(configuration, serverName: serverName, timeout: Loop.limit)
    return socket
  }

  private static func giveKey(_ authenticator: SSLPreSharedKeyAuthenticator) {
    if authenticator.identity == "device-1" { authenticator.preSharedKey = key }
  }

  @Test(
    "A handler of the signal gives the key, and a server with a hint needs no certificate",
    arguments: SSLVersion.allCases
  )
  func signal(version: SSLVersion) async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(
        {
          $0.identities = []
          $0.preSharedKeyIdentityHint = "the usual"
        },
        handler: { socket in
          #expect(socket.encryption?.preSharedKeyIdentity == "device-1")
          #expect(socket.encryption?.isResumed == false)
          try await echo(socket)
        }
      ) { server in
        let asked = Counter()
        server.preSharedKeyAuthenticationRequired.connect { question in
          asked.increment()
          #expect(question.socket.state == .connected)
          #expect(question.authenticator.identityHint == "the usual")
          #expect(question.authenticator.maximumIdentityLength == 0)
          #expect(question.authenticator.maximumPreSharedKeyLength >= 64)
          // Nothing of the handshake goes on within the handler.
          question.socket.continueInterruptedHandshake()
          Self.giveKey(question.authenticator)
        }
        let client = try await Self.client(of: server, version)
        #expect(asked.value == 1)
        #expect(client.encryption?.version == version)
        #expect(client.encryption?.preSharedKeyIdentity == "device-1")
        #expect(client.encryption?.peerCertificates == [])
        try await client.write("hello")
        #expect(text(try await client.read(exactly: 5)) == "hello")
        #expect(client.encryptionSession == [])
      }
    }
  }

  @Test(
    "The configuration's handler gives the key where the signal's give none",
    arguments: SSLVersion.allCases
  )
  func handler(version: SSLVersion) async throws {
    try await onLoop { _ in
      let (asked, hints) = (Counter(), Shared<[String?]>([]))
      try await whileServingEncrypted(
        {
          $0.identities = []
          $0.preSharedKeyHandler = Self.giveKey
        },
        handler: echo
      ) { server in
        for round in 0..<2 {
          var configuration = SSLConfiguration()
          configuration.maximumVersion = version
          configuration.preSharedKeyHandler = {
            hints.value.append($0.identityHint)
            #expect($0.identity == "")
            #expect($0.maximumIdentityLength >= 128)
            $0.identity = "device-1"
            $0.preSharedKey = Self.key
          }
          let client = TCPSocket()
          try await client.connect(to: "127.0.0.1", port: server.serverPort)
          try await client.startClientEncryption(configuration, serverName: nil, timeout: Loop.limit)
          #expect(client.encryption?.preSharedKeyIdentity == "device-1")
          #expect(asked.value == round)
          server.preSharedKeyAuthenticationRequired.connect { _ in asked.increment() }
        }
        #expect(hints.value.allSatisfy { $0 == nil })
      }
    }
  }

  @Test("An unknown identity, and a wrong key, are refused", arguments: SSLVersion.allCases)
  func refused(version: SSLVersion) async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(
        {
          $0.identities = []
          $0.preSharedKeyHandler = Self.giveKey
        },
        handler: echo
      ) { server in
        let reasons = Shared<[SSLError.Reason?]>([])
        server.errorOccurred.connect { reasons.value.append($0.socket.encryptionError?.reason) }
        await #expect(throws: SSLError.self) {
          try await Self.client(of: server, version, identity: "stranger")
        }
        try await until { reasons.value.count == 1 }
        await #expect(throws: SSLError.self) { try await Self.client(of: server, version, key: [1, 2, 3]) }
        try await until { reasons.value.count == 2 }
        #expect(reasons.value == [.noPreSharedKey, .protocolViolation])
        #expect(server.handshakeStatistics.failed == 2)
        server.errorOccurred.disconnectAll()
      }
    }
  }

  @Test("A key, or an identity, that is too long, or has a NUL, counts as none")
  func tooLong() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted({ $0.preSharedKeyHandler = Self.giveKey }, handler: echo) {
        server in
        for (identity, key) in [
          ("device-1", [UInt8](repeating: 1, count: 10_000)), (String(repeating: "x", count: 1000), Self.key),
          ("device-1\0", Self.key),
        ] {
          // Without a key there is the certificate, which is for a name.
          await #expect(throws: SSLError.self) {
            try await Self.client(of: server, .tls13, identity: identity, key: key)
          }
        }
        var configuration = server.sslConfiguration
        configuration.preSharedKeyIdentityHint = "a\0b"
        #expect(throws: SSLError(.configuration, "The hint for pre-shared keys has a NUL in it")) {
          try configuration.checkForServer()
        }
        configuration.preSharedKeyIdentityHint = String(repeating: "x", count: 1000)
        #expect(throws: SSLError.self) { try configuration.checkForServer() }
      }
    }
  }

  @Test("Without a key the handshake goes on with the certificate, and a key has precedence")
  func certificate() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted({ $0.preSharedKeyHandler = Self.giveKey }, handler: echo) {
        server in
        let plain = try await encryptedClient(of: server)
        #expect(plain.encryption?.preSharedKeyIdentity == nil)
        #expect(plain.encryption?.peerCertificates.count == 1)
        let client = try await Self.client(of: server, .tls13, serverName: "localhost")
        #expect(client.encryption?.preSharedKeyIdentity == "device-1")
      }
    }
  }

  @Test(
    "A handler may end the connection, or close the server",
    arguments: SSLVersion.allCases,
    [false, true]
  )
  func ending(version: SSLVersion, closes: Bool) async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted {
        $0.identities = []
        $0.preSharedKeyIdentityHint = ""
      }
      server.handshakeTimeout = Loop.limit
      let asked = Counter()
      server.preSharedKeyAuthenticationRequired.connect { [unowned server] question in
        asked.increment()
        if closes { server.close() } else { question.socket.abort() }
        // Too late.
        Self.giveKey(question.authenticator)
      }
      await #expect(throws: (any Error).self) { try await Self.client(of: server, version) }
      #expect(asked.value == 1)
      #expect(server.handshakeStatistics.current == 0)
      #expect(server.handshakeStatistics.closed == (closes ? 1 : 0))
      #expect(server.handshakeStatistics.failed == (closes ? 0 : 1))
      #expect(server.statistics.live == 0)
    }
  }

  @Test("What an authenticator holds is wiped by another key, and at the end")
  func wiping() {
    let authenticator = SSLPreSharedKeyAuthenticator(
      identityHint: nil,
      identity: "device-1",
      maximumIdentityLength: 0,
      maximumPreSharedKeyLength: 64
    )
    #expect(authenticator.hasNoKey)
    authenticator.preSharedKey = Self.key
    #expect(authenticator.preSharedKey == Self.key)
    authenticator.preSharedKey = []
    #expect(authenticator.hasNoKey)
    authenticator.preSharedKey = Self.key
    authenticator.wipe()
    #expect(authenticator.hasNoKey)
    #expect(authenticator.preSharedKey == [])
  }
}
