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

@Suite("The texts of SSLError")
struct SSLErrorTests {
  @Test("A lack of memory has a text, and an alert its number in it")
  func texts() {
    #expect(SSLError.outOfMemory.text == "There is not enough memory")
    #expect(SSLError.outOfMemory.reason == .memory)
    var error = SSLError(.alert, "Refused")
    #expect("\(error)" == "Refused")
    error.alert = 40
    #expect("\(error)" == "Refused (alert 40)")
  }
}

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
        try await body(server) {
          do {
            let client = try await encryptedClient(of: server) {
              $0.identities = [try certificates.identity("client")]
            }
            try await client.write("x")
            return try await client.read(maxLength: 1) == [120]
          } catch is SSLError {
            return false
          } catch is SocketError {
            return false
          }
        }
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
}
