// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import TCPServerTLS
import Testing

@Suite("Encryption of a connection that is there", .enabled(if: Certificates.canBeMade))
struct StartingEncryptionTests {
  @Test("A protocol begins in the clear, and goes on encrypted")
  func startTLS() async throws {
    let configuration = try Certificates.server()
    try await onLoop { _ in
      _ = try await whileServing(handler: { socket in
        guard try await socket.readLine() == Array("STARTTLS\n".utf8) else { return }
        try await socket.startServerEncryption(configuration, after: "220 Go ahead\n", timeout: Loop.limit)
        #expect(socket.encryption?.serverName == "localhost")
        try await echo(socket)
      }) { server in
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: server.serverPort)
        try await client.write("STARTTLS\n")
        #expect(text(try await client.readLine()) == "220 Go ahead\n")
        #expect(client.encryption == nil)
        try await client.startClientEncryption(
          Certificates.client(),
          serverName: "localhost",
          timeout: Loop.limit
        )
        try await client.write("secret")
        #expect(text(try await client.read(exactly: 6)) == "secret")
        await #expect(throws: SocketError.operation) {
          try await client.startClientEncryption(Certificates.client(), serverName: "localhost")
        }
        #expect(client.errorString == "The connection is encrypted already")
        await #expect(throws: SocketError.operation) {
          try await client.startServerEncryption(configuration, after: "220 Go ahead\n")
        }
        try await client.write("echo")
        #expect(text(try await client.read(exactly: 4)) == "echo")
        client.finishWriting()
        #expect(try await client.read(maxLength: 1) == nil)
      }
    }
  }

  @Test("What was sent in the clear behind the command is not taken for what is encrypted")
  func injection() async throws {
    let configuration = try Certificates.server()
    try await onLoop { _ in
      let refusal = Shared("")
      _ = try await whileServing(handler: { socket in
        _ = try await socket.readLine()
        do {
          try await socket.startServerEncryption(configuration, after: "220 Go ahead\n")
        } catch SocketError.operation {
          refusal.value = socket.errorString
          try await socket.write("500 No\n")
        }
      }) { server in
        let client = try #require(PlainClient(to: server))
        client.send("STARTTLS\nRCPT TO: <evil>\n")
        try await until { refusal.value != "" }
        // The answer was not given.
        #expect(client.receive(exactly: 7) == Array("500 No\n".utf8))
      }
      #expect(refusal.value == "Encryption cannot begin while bytes are unread, or not sent")
    }
  }

  @Test("The time is for the answer, too, and when that is over the connection is")
  func lateAnswer() async throws {
    let configuration = try Certificates.server()
    let answer = String(repeating: "2", count: 16 << 20)
    try await onLoop { _ in
      let pair = try await Pair(tight: true)
      await #expect(throws: SocketError.socketTimeout) {
        try await pair.socket.startServerEncryption(configuration, after: answer, timeout: .milliseconds(1))
      }
      #expect(pair.socket.errorString == "The handshake took too long")
      #expect(pair.socket.state == .unconnected)
    }
  }

  @Test("What keeps encryption from beginning after the answer was written ends the connection")
  func injectionBehindAnswer() async throws {
    let configuration = try Certificates.server()
    let answer = String(repeating: "2", count: 16 << 20)
    try await onLoop { _ in
      let pair = try await Pair(tight: true)
      let bound = LoopBound(pair.socket)
      let isOver = Flag()
      let encrypting = start {
        defer { isOver.set() }
        try await bound.value.startServerEncryption(configuration, after: answer, timeout: Loop.limit)
      }
      #expect(pair.socket.bytesToWrite > 0)
      pair.client.send("x")
      try await until { pair.socket.peek(maxLength: 1) == [120] }
      try await until {
        _ = pair.client.receivedCount()
        return isOver.isSet
      }
      await #expect(throws: SocketError.operation) { try await encrypting.value }
      #expect(pair.socket.errorString == "Encryption cannot begin while bytes are unread, or not sent")
      #expect(pair.socket.state == .unconnected)
    }
  }

  @Test("Of a socket that is not connected, or has no event base, encryption is refused")
  func refused() async throws {
    let configuration = try Certificates.client()
    try await onLoop { _ in
      let socket = TCPSocket()
      await #expect(throws: SocketError.operation) {
        try await socket.startClientEncryption(configuration, serverName: "localhost")
      }
      #expect(socket.errorString == "Encryption begins on a socket that is connected, on an event base")
      let pair = try await Pair()
      for name in [nil, "localhost\0.example"] {
        do {
          try await pair.socket.startClientEncryption(configuration, serverName: name)
          Issue.record("A client without the server's name")
        } catch let error as SSLError {
          #expect(error.text == "The server's name is missing, or cannot be one")
        }
      }
      await #expect(throws: SSLError.self) {
        try await pair.socket.startServerEncryption(configuration, after: "220 Go ahead\n")
      }
      let usable = try Certificates.server()
      pair.socket.startTransaction()
      await #expect(throws: SocketError.operation) {
        try await pair.socket.startServerEncryption(usable, after: "220 Go ahead\n")
      }
      #expect(pair.socket.errorString == "Encryption cannot begin within a transaction")
      pair.socket.commitTransaction()
      // Nothing of it has touched the connection, and the peer has no answer.
      try await pair.socket.write("clear")
      #expect(pair.client.receive(exactly: 5) == Array("clear".utf8))
    }
  }

  @Test("A certificate for another name ends the connection, and both sides learn why")
  func otherName() async throws {
    try await onLoop { _ in
      let reason = Shared<SSLError?>(nil)
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.errorOccurred.connect { reason.value = $0.socket.encryptionError }
        let socket = TCPSocket()
        try await socket.connect(to: "127.0.0.1", port: server.serverPort)
        do {
          try await socket.startClientEncryption(
            Certificates.client(),
            serverName: "example.com",
            timeout: Loop.limit
          )
          Issue.record("A certificate for another name was accepted")
        } catch let error as SSLError {
          #expect(error.reason == .certificate)
          #expect(error.verification != 0)
          #expect(error.alert != nil)
          #expect("\(error)".hasPrefix("The certificate of the peer is not accepted"))
        }
        #expect(socket.error == .sslHandshakeFailed)
        try await until { reason.value != nil }
        #expect(reason.value?.reason == .alert)
        #expect(reason.value?.alert != nil)
        server.errorOccurred.disconnectAll()
      }
    }
  }

  @Test("A handshake that is cancelled, or takes too long, resets the connection")
  func givenUp() async throws {
    let configuration = try Certificates.client()
    try await onLoop { _ in
      let server = try listening()
      let socket = TCPSocket()
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      let peer = try #require(try await server.accept())
      let bound = LoopBound(socket)
      let handshake = start {
        try await bound.value.startClientEncryption(
          configuration,
          serverName: "localhost",
          timeout: Loop.limit
        )
      }
      // The client's first message is there.
      #expect(try await peer.read(exactly: 3)?.first == 22)
      handshake.cancel()
      await #expect(throws: CancellationError.self) { try await handshake.value }
      #expect(socket.state == .unconnected)
      await #expect(throws: SocketError.remoteHostClosed) {
        while try await peer.read(maxLength: 1000) != nil {}
      }

      let late = TCPSocket()
      try await late.connect(to: "127.0.0.1", port: server.serverPort)
      await #expect(throws: SocketError.socketTimeout) {
        try await late.startClientEncryption(
          configuration,
          serverName: "localhost",
          timeout: .milliseconds(1)
        )
      }
      #expect(late.errorString == "The handshake took too long")
      #expect(late.state == .unconnected)
    }
  }

  @Test("A peer that closes, or answers something else, ends a client's handshake")
  func otherPeers() async throws {
    let configuration = try Certificates.client()
    try await onLoop { _ in
      for answer in ["", "500 What?\r\n"] {
        let report = try await whileServing(handler: { socket in
          _ = try await socket.read(maxLength: 10000)
          try await socket.write(answer)
        }) { server in
          let socket = TCPSocket()
          try await socket.connect(to: "127.0.0.1", port: server.serverPort)
          do {
            try await socket.startClientEncryption(
              configuration,
              serverName: "localhost",
              timeout: Loop.limit
            )
            Issue.record("A handshake without a server")
          } catch let error as SSLError {
            #expect(
              [.closedSilently, .notTLS, .protocolViolation, .truncated].contains(error.reason),
              "\(error)"
            )
          }
          #expect(socket.state != .connected)
        }
        #expect(report.served == 1)
      }
    }
  }

  @Test("Ending a socket during its handshake ends that, whichever way", arguments: [0, 1, 2])
  func endedMeanwhile(way: Int) async throws {
    let configuration = try Certificates.client()
    try await onLoop { _ in
      let server = try listening()
      let socket = TCPSocket()
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      let peer = try #require(try await server.accept())
      let bound = LoopBound(socket)
      let handshake = start {
        try await bound.value.startClientEncryption(
          configuration,
          serverName: "localhost",
          timeout: Loop.limit
        )
      }
      #expect(try await peer.read(exactly: 3)?.first == 22)
      socket.writeAtOnce([Array("held".utf8)])
      #expect(socket.bytesToWrite == 4)
      switch way {
      case 0: socket.disconnectFromHost()
      case 1: socket.close()
      default: socket.abort()
      }
      #expect(socket.state == .unconnected)
      await #expect(throws: SocketError.remoteHostClosed) { try await handshake.value }
    }
  }

  @Test("What is written during the handshake is sent after it, encrypted, and then the end")
  func writtenMeanwhile() async throws {
    let configuration = try Certificates.server()
    try await onLoop { _ in
      _ = try await whileServing(handler: { socket in
        let bound = LoopBound(socket)
        let handshake = start {
          try await bound.value.startServerEncryption(configuration, timeout: Loop.limit)
        }
        socket.writeAtOnce([pattern(100_000)])
        socket.finishWriting()
        try await handshake.value
        #expect(try await readToEnd(socket) == Array("read".utf8))
      }) { server in
        let client = try await encryptedClient(port: server.serverPort)
        #expect(try await readToEnd(client) == pattern(100_000))
        try await client.write("read")
        client.finishWriting()
      }
    }
  }

  @Test("A read that waits for the handshake of another task gets what comes after it, or its timeout")
  func readMeanwhile() async throws {
    let configuration = try Certificates.server()
    try await onLoop { _ in
      _ = try await whileServing(handler: { socket in
        let bound = LoopBound(socket)
        let handshake = start {
          try await bound.value.startServerEncryption(configuration, timeout: Loop.limit)
        }
        await #expect(throws: SocketError.socketTimeout) {
          try await socket.read(maxLength: 10, timeout: .milliseconds(1))
        }
        try await socket.write("go")
        #expect(text(try await socket.read(exactly: 5, timeout: Loop.limit)) == "hello")
        try await handshake.value
      }) { server in
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: server.serverPort)
        try await until { server.statistics.live == 1 }
        await turns(2000)
        try await client.startClientEncryption(
          Certificates.client(),
          serverName: "localhost",
          timeout: Loop.limit
        )
        #expect(text(try await client.read(exactly: 2)) == "go")
        try await client.write("hello")
        _ = try await readToEnd(client)
      }
    }
  }

  @Test("Released without having been closed, a connection still ends in order")
  func released() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      var client: TCPSocket? = try await encryptedClient(of: server)
      let socket = try #require(try await server.accept())
      try await client?.write("last")
      client = nil
      #expect(try await readToEnd(socket) == Array("last".utf8))
      #expect(socket.encryption?.isTruncated == false)
    }
  }

  @Test("Exported ticket keys accept the tickets of another server; replaced ones do not")
  func ticketKeys() async throws {
    try await onLoop { _ in
      let keys = try SSLTicketKeys()
      var session: [UInt8] = []
      func resumes(_ keys: SSLTicketKeys?) async throws -> Bool {
        let resumed = Shared(false)
        _ = try await whileServingEncrypted(
          { $0.sessionTickets = keys },
          handler: { socket in
            resumed.value = socket.encryption?.isResumed ?? false
            try await socket.write("x")
          }
        ) { server in
          let client = try await encryptedClient(of: server, resuming: session)
          _ = try await readToEnd(client)
          session = client.encryptionSession
        }
        return resumed.value
      }
      #expect(try await resumes(keys) == false)
      let copy = try SSLTicketKeys()
      try copy.replace(by: keys.export())
      #expect(try await resumes(copy))
      #expect(copy.rotate())
      #expect(try await resumes(copy))
      #expect(try await resumes(SSLTicketKeys()) == false)
      #expect(throws: SSLError.self) { try copy.replace(by: [1, 2, 3]) }
      #expect(try await resumes(nil) == false)
      #expect(session.isEmpty)
    }
  }
}
