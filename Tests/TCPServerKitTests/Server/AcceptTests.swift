// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("accept()", .timeLimit(.minutes(5)))
struct AcceptTests {
  @Test("Waits for a connection, and takes one that is pending without waiting")
  func takes() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      async let accepted = bound.value.accept().map { $0.peerPort }
      await turns(3)
      let first = try #require(PlainClient(to: server))
      #expect(try await accepted == first.port)
      let second = try #require(PlainClient(to: server))
      try await until { server.hasPendingConnections }
      #expect(try await server.accept()?.peerPort == second.port)
      expectBalanced(server)
    }
  }

  @Test("Several tasks wait in order, each for one connection")
  func inOrder() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      for count in [1, 5, 3, 5] {
        try await withThrowingTaskGroup(of: (Int, UInt16?).self) { group in
          for index in 0..<count {
            group.addImmediateTask { (index, try await bound.value.accept()?.peerPort) }
          }
          let clients = (0..<count).compactMap { _ in PlainClient(to: server) }
          var accepted: [Int: UInt16] = [:]
          for try await (index, port) in group { accepted[index] = port }
          #expect((0..<count).map { accepted[$0] } == clients.map(\.port))
        }
      }
    }
  }

  @Test("Is nil when the server closes, for every waiting task")
  func closed() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for _ in 0..<3 {
          group.addImmediateTask { try await bound.value.accept() == nil }
        }
        server.close()
        for try await isNil in group { #expect(isNil) }
      }
    }
  }

  @Test(
    "Where listening has failed, or was forgotten, it is an error, as for serve(); not after the server's end"
  )
  func neverListened() async throws {
    try await onLoop { _ in
      let server = TCPServer()
      let expectError = {
        await #expect(throws: SocketError.operation) { _ = try await server.accept() }
        #expect(server.errorString == "accept() called on a server that does not listen")
        await #expect(throws: SocketError.operation) { for try await _ in server.incomingConnections {} }
      }
      let expectEnd = {
        #expect(try await server.accept() == nil)
        for try await _ in server.incomingConnections {}
      }
      await expectError()
      #expect(!server.listen(address: .null))
      await expectError()
      server.close()
      try await expectEnd()
      #expect(!server.listen(path: "\0"))
      await expectError()
      server.finish()
      try await expectEnd()
      #expect(!server.setSocketDescriptor(-1))
      await expectError()
      #expect(server.listen(address: .localHost))
      #expect(!server.listen(address: .localHost))
      server.close()
      try await expectEnd()
      await #expect(throws: SocketError.self) { try await server.startListening(address: .null) }
      await expectError()
    }
  }

  @Test("A cancelled one has taken nothing, and passes on a wake-up meant for it")
  func cancelled() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let first = start {
        try await bound.value.accept() == nil
      }
      let second = start {
        try await bound.value.accept()?.peerPort
      }
      let client = try #require(PlainClient(to: server))
      // The connection wakes the first task, which is cancelled before it goes on.
      server.newConnection.connect { first.cancel() }
      await #expect(throws: CancellationError.self) { try await first.value }
      #expect(try await second.value == client.port)
      #expect(server.statistics.delivered == 1)
      expectBalanced(server)
    }
  }

  @Test("One that is cancelled in the middle of the line leaves it, and the others keep their order")
  func leavesTheLine() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let tasks = (0..<4).map { _ in start { try await bound.value.accept()?.peerPort } }
      tasks[1].cancel()
      await #expect(throws: CancellationError.self) { try await tasks[1].value }
      for task in [tasks[0], tasks[2], tasks[3]] {
        let client = try #require(PlainClient(to: server))
        #expect(try await task.value == client.port)
      }
      expectBalanced(server)
    }
  }

  @Test("Without an event base there is nothing to wait on")
  func noLoop() async throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    await #expect(throws: SocketError.operation) { _ = try await server.accept() }
    #expect(server.serverError == .operation)
    #expect(server.errorString == withoutEventBase("accept()"))
  }

  @Test("A broken listening socket ends every waiting call with an error; pending connections come first")
  func broken() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let waiting = start {
        _ = await #expect(throws: SocketError.self) { _ = try await bound.value.accept() }
      }
      shutdown(server.socketDescriptor, CInt(SHUT_RDWR))
      try await waiting.value
      #expect(!server.isListening)
      await #expect(throws: server.serverError) { _ = try await server.accept() }
      await #expect(throws: server.serverError) {
        for try await _ in server.incomingConnections {}
      }
      #expect(server.statistics.listenerErrors == 1)
      // Listening again forgets it.
      #expect(server.listen(address: .localHost))
      let client = try #require(PlainClient(to: server))
      #expect(try await server.accept()?.peerPort == client.port)
    }
  }

  @Test("A sequence ends with the server, and leaving it loses nothing")
  func sequence() async throws {
    try await onLoop { _ in
      let server = try listening()
      var clients = (0..<3).compactMap { _ in PlainClient(to: server) }
      for try await connection in server.incomingConnections {
        #expect(connection.peerPort == clients[0].port)
        break
      }
      try await until { server.statistics.pending == 2 }
      server.finish()
      clients.removeFirst()
      for try await connection in server.incomingConnections {
        #expect(connection.peerPort == clients.removeFirst().port)
      }
      #expect(clients.isEmpty)
      expectBalanced(server)
    }
  }

  @Test("A connection that never becomes a socket is closed; it becomes one once")
  func incoming() async throws {
    try await onLoop { _ in
      let server = try listening()
      let dropped = try #require(PlainClient(to: server))
      let taken = try #require(PlainClient(to: server))
      var iterator = server.incomingConnections.makeAsyncIterator()
      _ = try await iterator.next()
      let connection = try #require(await iterator.next())
      #expect(dropped.nextInput() == .end)
      let socket = try connection.socket()
      #expect(throws: SocketError.operation) { _ = try connection.socket() }
      #expect(connection.takeDescriptor() == -1)
      #expect(socket.peerPort == taken.port)
      #expect(connection.peerAddress == .localHost)
    }
  }

  @Test("A connection that the program adds is given to a task that waits already")
  func added() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let accepting = start { try await bound.value.accept()?.peerPort }
      await turns()
      let pair = try await Pair()
      server.addPendingConnection(pair.socket)
      #expect(try await accepting.value == pair.client.port)
      expectBalanced(server)
    }
  }

  @Test("A socket that a task of the global pool makes lives on the server's loop")
  func incomingElsewhere() async throws {
    try await onLoop { _ in
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      var iterator = server.incomingConnections.makeAsyncIterator()
      let connection = try #require(await iterator.next())
      let answering = Task.detached {
        let socket = try connection.socket()
        let line = try #require(await socket.readLine())
        try await socket.write(line)
      }
      await turns()
      client.send("line\n")
      try await answering.value
      #expect(client.receive(exactly: 5) == Array("line\n".utf8))
    }
  }

  @Test("Without a loop each socket belongs to the thread that uses it first")
  func threads() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let clients = try (0..<3).map { _ in try #require(PlainClient(to: server)) }
    let sockets = try clients.map { _ in
      #expect(server.waitForNewConnection(msec: 60_000))
      return try #require(server.nextPendingConnection())
    }
    let begun = Counter()
    let threads = sockets.map { socket in
      Background {
        socket.write("hello")
        begun.increment()
        while begun.value < 3 { sched_yield() }
        socket.close()
      }
    }
    for thread in threads { thread.join() }
    for client in clients { #expect(client.receive(exactly: 5) == Array("hello".utf8)) }
    withExtendedLifetime(sockets) {}
  }
}
