// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Certificates that the program decides on", .enabled(if: Certificates.canBeMade))
struct PeerVerifierTests {
  @Test(
    "A verifier is given the certificates and OpenSSL's verdict, and may refuse a valid one",
    arguments: SSLVersion.allCases
  )
  func refuses(version: SSLVersion) async throws {
    try await onLoop { base in
      let certificates = try #require(Certificates.shared)
      let (seen, revoked) = (Shared<[Int]>([]), Shared<[UInt8]>([]))
      let signalled = Counter()
      try await whileServingEncrypted(
        {
          $0.maximumVersion = version
          $0.peerVerifyMode = .verify
          $0.caCertificates = certificates.authority
          $0.peerVerifier = { chain, error in
            await Task.yield()
            #expect(EventBase.current === base)
            seen.value.append(error)
            defer { revoked.value = chain.first ?? [] }
            return error == 0 && chain.first != revoked.value
          }
        },
        handler: echo
      ) { server in
        server.sslErrors.connect { _ in signalled.increment() }
        #expect(try await isServed(server, as: "client"))
        // The same certificate has been revoked meanwhile.
        #expect(try await !isServed(server, as: "client"))
        #expect(try await !isServed(server, as: "stranger"))
        try await until { server.handshakeStatistics.failed == 2 }
        #expect(seen.value.map { $0 == 0 } == [true, true, false])
        #expect(signalled.value == 0)
        server.sslErrors.disconnectAll()
      }
    }
  }

  @Test("A client's verifier may accept what OpenSSL refuses, and refuse what it accepts")
  func client() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        for accepts in [false, true] {
          let seen = Shared(0)
          do {
            let client = try await encryptedClient(of: server) {
              $0.caCertificates = Array(try #require(Certificates.shared).selfSigned.utf8)
              $0.peerVerifier = { chain, error in
                await Task.yield()
                seen.value = error
                #expect(chain.count == 1)
                return accepts
              }
            }
            #expect(accepts)
            #expect(client.encryption?.verification == seen.value)
          } catch let error as SSLError {
            #expect(!accepts)
            #expect(error.reason == .certificate)
          }
          #expect(seen.value != 0)
        }
      }
    }
  }

  @Test("A verifier that does not answer ends with the handshake's time, and is cancelled")
  func deadline() async throws {
    try await onLoop { base in
      let (asked, cancelled) = (Counter(), Counter())
      try await whileServingEncrypted(
        {
          $0.peerVerifyMode = .query
          $0.peerVerifier = { _, _ in
            asked.increment()
            do { try await base.sleep(for: .seconds(3600)) } catch { cancelled.increment() }
            return true
          }
        },
        handler: echo
      ) { server in
        let client = start { [server] in try await isServed(server, as: "client") }
        try await until { asked.value == 1 }
        await turns()
        #expect(server.handshakeStatistics.current == 1)
        server.handshakeTimeout = .milliseconds(1)
        #expect(try await client.value == false)
        try await until { cancelled.value == 1 }
        #expect(server.handshakeStatistics.timedOut == 1)
      }
    }
  }

  @Test("A verifier that would not be called is refused")
  func never() throws {
    var configuration = try Certificates.server()
    configuration.peerVerifier = { _, _ in true }
    let refusal = SSLError(.configuration, "A peerVerifier needs a peerVerifyMode that asks for certificates")
    #expect(throws: refusal) { try configuration.checkForServer() }
    try configuration.checkForClient()
    configuration.peerVerifyMode = .none
    #expect(throws: refusal) { try configuration.checkForServer() }
    #expect(throws: refusal) { try configuration.checkForClient() }
    configuration.peerVerifyMode = .query
    try configuration.checkForServer()
    try configuration.checkForClient()
  }

  @Test("With .query a client without a certificate is served, and no verifier is called")
  func absent() async throws {
    try await onLoop { _ in
      let asked = Counter()
      try await whileServingEncrypted(
        {
          $0.peerVerifyMode = .query
          $0.peerVerifier = { _, _ in
            asked.increment()
            return false
          }
        },
        handler: echo
      ) { server in
        let client = try await encryptedClient(of: server)
        try await client.write("x")
        #expect(try await client.read(exactly: 1) == [120])
        #expect(asked.value == 0)
      }
    }
  }

  @Test("A client that shows a certificate, and does not prove that it has the key, starts no verifier")
  func unproven() async throws {
    try await onLoop { _ in
      let certificates = try #require(Certificates.shared)
      let (asked, own) = (Counter(), Shared<[UInt8]>([]))
      try await whileServingEncrypted(
        {
          $0.maximumVersion = .tls12
          $0.peerVerifyMode = .verify
          $0.caCertificates = certificates.authority
          $0.peerVerifier = { chain, _ in
            asked.increment()
            own.value = chain.first ?? []
            return true
          }
        },
        handler: echo
      ) { server in
        #expect(try await isServed(server, as: "client"))
        let client = try #require(PlainClient(to: server))
        client.send(RawTLS.clientHello)
        var answer: [UInt8] = []
        try await until {
          if case .bytes(let bytes) = client.input() { answer += bytes }
          return Array(answer.suffix(4)) == RawTLS.serverHelloDone
        }
        client.send(RawTLS.certificate(own.value))
        await turns()
        #expect(server.handshakeStatistics.current == 1)
        client.send(RawTLS.clientHello)
        try await until { server.handshakeStatistics.failed == 1 }
        #expect(asked.value == 1)
      }
    }
  }
}
