// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("SSLServer", .enabled(if: Certificates.canBeMade))
struct SSLServerTests {
  @Test("A hundred silent clients keep no other from being served, and do not count as pending")
  func silentClients() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.maxPendingConnections = 1
        let silent = try (0..<100).map { _ in try #require(PlainClient(to: server)) }
        try await until { server.handshakeStatistics.current == 100 }
        #expect(!server.hasPendingConnections)
        let client = try await encryptedClient(of: server)
        try await client.write("hello")
        #expect(text(try await client.read(exactly: 5)) == "hello")
        #expect(server.handshakeStatistics.current == 100)
        #expect(server.statistics.live == 101)
        for one in silent { one.end() }
        try await until { server.handshakeStatistics.current == 0 }
        #expect(server.handshakeStatistics.closedSilently == 100)
        #expect(server.statistics.live == 1)
      }
    }
  }

  @Test("Beyond maxHandshakes the oldest silent client is closed for a new one")
  func drops() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.maxHandshakes = 2
        let seen = Shared<[String]>([])
        server.errorOccurred.connect { seen.value.append("\($0.error): \($0.socket.errorString)") }
        let talking = try #require(PlainClient(to: server))
        talking.send([22, 3, 1])
        let oldest = try #require(PlainClient(to: server))
        try await until { server.handshakeStatistics.current == 2 }
        // Until the loop has looked at the bytes.
        await turns()
        let client = try await encryptedClient(of: server)
        #expect(server.handshakeStatistics.dropped == 1)
        try await until { oldest.input() != .nothing }
        #expect(seen.value == ["\(SocketError.socketResource): Too many handshakes"])
        #expect(talking.input() == .nothing)
        try await client.write("hello")
        #expect(text(try await client.read(exactly: 5)) == "hello")
      }
    }
  }

  @Test("Where most clients have begun to send, the oldest of those is closed for a new one")
  func dropsAmongTalking() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.maxHandshakes = 3
        let silent = try #require(PlainClient(to: server))
        try await until { server.handshakeStatistics.current == 1 }
        let talking = try (0..<2).map { _ in
          let client = try #require(PlainClient(to: server))
          client.send([22, 3, 1])
          return client
        }
        try await until { server.handshakeStatistics.current == 3 }
        // Until the loop has looked at the bytes.
        await turns()
        let new = try #require(PlainClient(to: server))
        try await until { server.handshakeStatistics.dropped == 1 }
        try await until { talking[0].input() != .nothing }
        #expect(silent.input() == .nothing && talking[1].input() == .nothing && new.input() == .nothing)
      }
    }
  }

  @Test("A client whose first byte is none of TLS is closed, without an answer")
  func notTLS() async throws {
    try await onLoop { _ in
      let errors = Counter()
      try await whileServingEncrypted(handler: echo) { server in
        server.errorOccurred.connect { failed in
          #expect(failed.error == .sslHandshakeFailed)
          #expect(failed.socket.encryptionError?.reason == .notTLS)
          #expect(failed.socket.errorString == "The peer does not speak TLS")
          errors.increment()
        }
        let client = try #require(PlainClient(to: server))
        client.send("GET / HTTP/1.0\r\n\r\n")
        try await until { server.handshakeStatistics.notTLS == 1 }
        try await until { client.input() != .nothing }
        #expect(server.statistics.live == 0)
        server.errorOccurred.disconnectAll()
      }
      #expect(errors.value == 1)
    }
  }

  @Test("A handshake that is not complete in time ends the connection, however much of it has come")
  func timeout() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        let clients = try (0..<3).map { _ in try #require(PlainClient(to: server)) }
        clients[0].send([22, 3, 1, 2, 0, 1])
        try await until { server.handshakeStatistics.current == 3 }
        let errors = Counter()
        server.errorOccurred.connect { failed in
          #expect(failed.error == .socketTimeout)
          #expect(failed.socket.errorString == "The handshake took too long")
          #expect(failed.socket.encryptionError == nil)
          #expect(failed.socket.state == .unconnected)
          errors.increment()
        }
        server.handshakeTimeout = .milliseconds(1)
        for client in clients { try await until { client.input() != .nothing } }
        #expect(server.handshakeStatistics.timedOut == 3)
        #expect(errors.value == 3)
        #expect(server.statistics.live == 0)
      }
    }
  }

  @Test("Closing the server ends the handshakes, and leaves what is encrypted")
  func close() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      let taken = start { [server] in try await server.accept() }
      let client = try await encryptedClient(of: server)
      let socket = try #require(try await taken.value)
      let silent = try #require(PlainClient(to: server))
      try await until { server.handshakeStatistics.current == 1 }
      server.close()
      #expect(server.handshakeStatistics.current == 0)
      #expect(server.handshakeStatistics.closed == 1)
      try await until { silent.input() != .nothing }
      try await client.write("still")
      #expect(text(try await socket.read(exactly: 5)) == "still")
      #expect(try await server.accept() == nil)
      expectBalanced(server)
    }
  }

  @Test("A released server ends its handshakes")
  func release() async throws {
    try await onLoop { _ in
      var server: SSLServer? = try listeningEncrypted()
      let silent = try #require(server.flatMap { PlainClient(to: $0) })
      try await until { server?.handshakeStatistics.current == 1 }
      server = nil
      try await until { silent.input() != .nothing }
    }
  }

  @Test("A server that finishes delivers what was in its handshake")
  func finish() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      let silent = try #require(PlainClient(to: server))
      let slow = TCPSocket()
      try await slow.connect(to: "127.0.0.1", port: server.serverPort)
      try await until { server.handshakeStatistics.current == 2 }
      server.finish()
      let accepted = start { [server] in try await server.accept() }
      await turns()
      try await slow.startClientEncryption(
        Certificates.client(),
        serverName: "localhost",
        timeout: Loop.limit
      )
      let socket = try #require(try await accepted.value)
      try await slow.write("late")
      #expect(text(try await socket.read(exactly: 4)) == "late")
      let none = start { [server] in try await server.accept() }
      silent.end()
      #expect(try await none.value == nil)
      expectBalanced(server)
    }
  }

  @Test("A graceful shutdown ends handshakes at its deadline")
  func shutdown() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      server.handshakeTimeout = Loop.limit
      let silent = try #require(PlainClient(to: server))
      let shutdown = GracefulShutdown()
      let serving = start { [server] in try await server.serve(shutdown: shutdown, handler: echo) }
      try await until { server.handshakeStatistics.current == 1 }
      shutdown.begin(timeout: .milliseconds(100))
      #expect(try await serving.value.numbers == [0, 0, 0, 0])
      try await until { silent.input() != .nothing }
      #expect(server.handshakeStatistics.closed == 1)
    }
  }

  @Test("newConnection and nextPendingConnection() are for encrypted connections alone")
  func signals() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      let (begun, announced) = (Counter(), Counter())
      server.startedEncryptionHandshake.connect { _ in begun.increment() }
      let taken = Shared<LoopBound<TCPSocket>?>(nil)
      server.newConnection.connect { [unowned server] in
        announced.increment()
        let socket = server.nextPendingConnection()
        #expect(socket?.encryption != nil)
        taken.value = socket.map { LoopBound($0) }
      }
      let silent = try #require(PlainClient(to: server))
      try await until { begun.value == 1 }
      let client = try await encryptedClient(of: server)
      try await until { taken.value != nil }
      #expect(announced.value == 1)
      #expect(begun.value == 2)
      let socket = try #require(taken.value?.value)
      #expect(HostAddress("127.0.0.1") == socket.peerAddress)
      socket.readyRead.connect { [unowned socket] in socket.write(socket.readAll()) }
      let ended = Counter()
      socket.disconnected.connect { ended.increment() }
      let sent = pattern(4 << 20)
      let writing = start {
        try await client.write(sent)
        client.finishWriting()
      }
      #expect(Delivery.whole(try await readToEnd(client)) == .whole(sent))
      try await writing.value
      client.disconnectFromHost()
      try await until { ended.value == 1 }
      silent.end()
      server.close()
      expectBalanced(server)
    }
  }

  @Test("Handlers that limit what they hold are called again for what TLS has decrypted already")
  func readBufferSize() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      let total = Shared(0)
      let isOver = Flag()
      server.newConnection.connect { [unowned server] in
        guard let socket = server.nextPendingConnection() else { return }
        socket.readBufferSize = 100
        socket.readyRead.connect { [unowned socket] in total.value += socket.read(maxLength: 70)?.count ?? 0 }
        socket.readChannelFinished.connect { [unowned socket] in
          total.value += socket.readAll().count
          isOver.set()
          socket.disconnectFromHost()
        }
      }
      let client = try await encryptedClient(of: server)
      try await client.write(pattern(5000))
      // Without an end, which epoll would announce; what has no room is not announced either.
      try await until { total.value >= 5000 - 100 }
      client.finishWriting()
      #expect(try await readToEnd(client) == [])
      #expect(isOver.isSet)
      #expect(total.value == 5000)
    }
  }

  @Test("The certificate goes by the server name, and a new one holds for handshakes that begin later")
  func names() async throws {
    try await onLoop { _ in
      let certificates = try #require(Certificates.shared)
      try await whileServingEncrypted(
        {
          $0.identities = [
            try certificates.identity("other"),
            try certificates.identity("localhost", serverNames: ["localhost"]),
          ]
        },
        handler: echo
      ) { server in
        let client = try await encryptedClient(of: server)
        let first = client.encryption?.peerCertificates.first
        #expect(first != nil)
        server.sslConfiguration.identities = [try certificates.identity("other")]
        await #expect(throws: SSLError.self) { try await encryptedClient(of: server) }
        let changed = try await encryptedClient(of: server) { $0.peerVerifyMode = .query }
        #expect(changed.encryption?.peerCertificates.first != first)
        #expect(changed.encryption?.verification != 0)
        try await client.write("old")
        #expect(text(try await client.read(exactly: 3)) == "old")
      }
    }
  }

  @Test("Certificates that are replaced under load fail no client")
  func replacesUnderLoad() async throws {
    try await onLoop { _ in
      let certificates = try #require(Certificates.shared)
      let identities = [try certificates.identity("localhost"), try certificates.identity("other")]
      try await whileServingEncrypted(handler: echo) { server in
        let server = LoopBound(server)
        let seen = Shared<Set<[UInt8]>>([])
        let clients = (0..<8).map { _ in
          start {
            for number in 0..<25 {
              let client = try await encryptedClient(of: server.value) { $0.peerVerifyMode = .query }
              // The handshakes of the others are in progress.
              server.value.sslConfiguration.identities = [identities[number % 2]]
              try await client.write("hello")
              #expect(text(try await client.read(exactly: 5)) == "hello")
              seen.value.insert(try #require(client.encryption?.peerCertificates.first))
            }
          }
        }
        for client in clients { try await client.value }
        #expect(seen.value.count == 2)
        #expect(server.value.handshakeStatistics.completed == 200)
        #expect(server.value.handshakeStatistics.failed == 0)
      }
    }
  }

  @Test("A configuration that cannot be used leaves the one before, and says what is wrong")
  func badConfiguration() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      let identities = server.sslConfiguration.identities.count
      server.sslConfiguration = SSLConfiguration()
      #expect(server.serverError == .sslInvalidUserData)
      #expect(server.errorString == "A server needs a certificate, and its key")
      #expect(server.sslConfiguration.identities.count == identities)
      server.sslConfiguration.ciphers = "none of them"
      #expect(server.errorString.contains("ciphers"), "\(server.errorString)")
      #expect(throws: SSLError.self) { try SSLConfiguration().checkForServer() }
      try SSLConfiguration().checkForClient()
      try server.sslConfiguration.checkForServer()
      #expect(throws: SSLError.self) {
        try SSLConfiguration(certificateFile: "/nowhere/at.all", keyFile: "/nowhere/at.all")
      }
      #expect(throws: SSLError.self) { try SSLIdentity(certificate: [1, 2], key: [3]) }
      let certificates = try #require(Certificates.shared)
      server.sslConfiguration.identities = [
        try certificates.identity("localhost", serverNames: ["localhost\0.example"])
      ]
      #expect(server.errorString == "A server name has a NUL in it")
      #expect(try await encryptedClient(of: server).encryption != nil)
    }
  }

  @Test("A server without a certificate, or without an event base, serves no client, and says so")
  func withoutCertificate() async throws {
    try await onLoop { _ in
      let server = SSLServer()
      try #require(server.listen(address: .localHost))
      let client = try #require(PlainClient(to: server))
      try await until { client.input() != .nothing }
      #expect(server.serverError == .sslInvalidUserData)
      #expect(server.errorString == "A server needs a certificate, its key, and an event base")
      #expect(server.statistics.live == 0)
      expectBalanced(server)
    }
  }

  @Test("incomingConnections is refused: an encrypted connection stays on its loop, and cannot be detached")
  func detaching() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      await #expect(throws: SocketError.operation) {
        for try await _ in server.incomingConnections {}
      }
      #expect(
        server.errorString == "Encrypted connections stay on their loop: accept() or serve() takes them"
      )
      let client = try await encryptedClient(of: server)
      #expect(client.detach() == -1)
      #expect(client.errorString == "detach() called on an encrypted connection")
    }
  }

  @Test("A client certificate is asked for, and required")
  func clientCertificates() async throws {
    try await onLoop { _ in
      let certificates = try #require(Certificates.shared)
      try await whileServingEncrypted(
        {
          $0.peerVerifyMode = .verify
          $0.caCertificates = certificates.authority
        },
        handler: { socket in
          #expect(socket.encryption?.peerCertificates.isEmpty == false)
          try await echo(socket)
        }
      ) { server in
        let client = try await encryptedClient(of: server) {
          $0.identities = [try certificates.identity("client")]
        }
        try await client.write("known")
        #expect(text(try await client.read(exactly: 5)) == "known")
        // The server refuses after a client of TLS 1.3 believes that it is done.
        do {
          let stranger = try await encryptedClient(of: server)
          #expect(try await stranger.read(maxLength: 1) == nil)
          Issue.record("A client without a certificate was served")
        } catch {
          try await until { server.handshakeStatistics.failed == 1 }
        }
      }
    }
  }

  @Test("A ticket of one loop resumes a session on another")
  func resumption() async throws {
    let configuration = try Certificates.server()
    let loops = Locked<Set<ObjectIdentifier>>([])
    let resumed = Counter()
    try await onLoops { group in
      let server = TCPServerGroup(on: group, distribution: .roundRobin, stallLimit: nil, tls: configuration) {
        $0.handshakeTimeout = Loop.limit
      }
      try await whileServing(
        server,
        handler: { socket in
          loops.withLock { _ = $0.insert(ObjectIdentifier(EventBase.current!)) }
          if socket.encryption?.isResumed == true { resumed.increment() }
          try await echo(socket)
        }
      ) {
        let port = server.serverPort
        try await onLoop { _ in
          var session: [UInt8] = []
          for _ in 0..<4 {
            let client = try await encryptedClient(port: port, resuming: session)
            try await client.write("x")
            _ = try await client.read(exactly: 1)
            session = client.encryptionSession
            #expect(!session.isEmpty)
            client.finishWriting()
            _ = try await readToEnd(client)
          }
        }
      }
    }
    #expect(loops.withLock { $0.count } == 2)
    #expect(resumed.value == 3)
  }
}
