// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// Where one message has ended and the next has not begun: what `waitForMessage()` says, and a shutdown ends.
@Suite("Between two messages", .timeLimit(.minutes(5)))
struct MessageBorderTests {
  @Test("waitForMessage() takes no byte; it is false at the end of the input and of the connection")
  func answers() async throws {
    try await onLoop { base in
      let (socket, peer) = try connectedPair(base)
      peer.send("ab")
      #expect(try await socket.waitForMessage())
      #expect(try await socket.waitForMessage())
      #expect(try await socket.read(exactly: 2) == Array("ab".utf8))
      let waiting = start { try await socket.waitForMessage() }
      await turns()
      peer.send("c")
      #expect(try await waiting.value)
      peer.end()
      #expect(try await socket.waitForMessage())
      #expect(try await socket.read(maxLength: 9) == Array("c".utf8))
      #expect(try await !socket.waitForMessage())
      await socket.closeGracefully()
      #expect(try await !socket.waitForMessage())
    }
  }

  @Test("waitForMessage() has a timeout, and a cancelled one throws CancellationError")
  func givesUp() async throws {
    try await onLoop { base in
      let (socket, peer) = try connectedPair(base)
      await #expect(throws: SocketError.socketTimeout) {
        try await socket.waitForMessage(timeout: .milliseconds(1))
      }
      let waiting = start { try await socket.waitForMessage() }
      await turns()
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      peer.send("x")
      #expect(try await socket.waitForMessage())
    }
  }

  @Test(
    "When a shutdown begins, connections between two messages end, and those that never sent a byte",
    arguments: [true, false]
  )
  func idleEnd(waitsForMessages: Bool) async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let shutdown = GracefulShutdown()
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          while true {
            if waitsForMessages { guard try await socket.waitForMessage() else { return } }
            guard let line = try await socket.readLine() else { return }
            try await socket.write(line)
          }
        }
      }
      let served = try #require(PlainClient(to: server))
      let silent = try #require(PlainClient(to: server))
      served.send("request\n")
      try await until { served.input() == .bytes(Array("request\n".utf8)) }
      try await until { server.statistics.delivered == 2 }
      shutdown.begin(timeout: .seconds(1000))
      #expect(try await serving.value.numbers == [2, 0, 2, 0])
      #expect(served.nextInput() == .end)
      #expect(silent.nextInput() == .end)
    }
  }

  @Test("A client that has just connected has time for its first byte", arguments: [true, false])
  func firstByte(waitsForMessages: Bool) async throws {
    try await onLoop { _ in
      // Of a machine that needs longer than that time, once is enough.
      for _ in 0..<20 {
        let server = try listening()
        let bound = LoopBound(server)
        let shutdown = GracefulShutdown()
        let serving = start {
          try await bound.value.serve(shutdown: shutdown) { socket in
            if waitsForMessages { guard try await socket.waitForMessage() else { return } }
            guard let line = try await socket.readLine() else { return }
            try await socket.write(line)
          }
        }
        let accepted = try #require(PlainClient(to: server))
        try await until { server.statistics.delivered == 1 }
        // Out of the kernel's queue.
        let queued = try #require(PlainClient(to: server))
        #expect(Descriptors.waitReadable(server.socketDescriptor))
        shutdown.begin(timeout: .seconds(1000))
        try await until { server.statistics.delivered == 2 }
        await turns(5)
        var answers: [PlainClient.Input] = []
        for client in [accepted, queued] {
          client.send("late\n")
          answers.append(try await answer(to: client))
        }
        #expect(try await serving.value.numbers == [2, 0, 2, 0])
        if answers == Array(repeating: .bytes(Array("late\n".utf8)), count: 2) { return }
      }
      Issue.record("No late client was ever answered")
    }
  }

  private func answer(to client: PlainClient) async throws -> PlainClient.Input {
    var input = client.input()
    try await until {
      if input == .nothing { input = client.input() }
      return input != .nothing
    }
    return input
  }

  @Test("What comes after the look at a silent connection, and before its task goes on, is read")
  func comesInBetween() async throws {
    try await onLoop { base in
      let server = try listening()
      let (bound, descriptor) = (LoopBound(server), Shared<CInt>(-1))
      let serving = start {
        try await bound.value.serve { socket in
          descriptor.value = socket.socketDescriptor
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      }
      let client = try #require(PlainClient(to: server))
      client.send("one\n")
      #expect(try await answer(to: client) == .bytes(Array("one\n".utf8)))
      let context = server.context
      let before = Self.waiting(context)
      #expect(before == 1)
      try await until {
        TCPSocket.endIdle(of: context)
        return Self.waiting(context) == 0
      }
      client.send("two\n")
      #expect(Descriptors.waitForBytes(descriptor.value, 4))
      #expect(try await answer(to: client) == .bytes(Array("two\n".utf8)))
      server.close()
      client.end()
      _ = try await serving.value
    }
  }

  /// How many of a server's connections wait for input.
  private static func waiting(_ context: SocketContext) -> Int {
    guard let engine = context.engine else { return 0 }
    return unsafe TCPSocket.watched(on: engine.base).count {
      $0.context === context && $0.existingWaiters?.reader.isWaiting ?? false
    }
  }

  @Test("A handler that has not answered yet has until the deadline, however early its request came")
  func unanswered() async throws {
    try await onLoop { _ in
      for _ in 0..<2 {
        let server = try listening()
        let bound = LoopBound(server)
        let shutdown = GracefulShutdown()
        let isReading = Flag()
        let serving = start {
          try await bound.value.serve(shutdown: shutdown) { socket in
            _ = try await socket.read(exactly: 1)
            isReading.set()
            _ = try await socket.read(exactly: 1)
          }
        }
        let client = try #require(PlainClient(to: server))
        client.send("x")
        try await until { isReading.isSet }
        // Longer than a connection is silent that is taken for one between two messages.
        shutdown.begin(timeout: .milliseconds(700))
        #expect(try await serving.value.numbers == [1, 0, 0, 1])
      }
    }
  }

  @Test("In the middle of a message a connection has until the deadline, also behind one that was answered")
  func withinMessage() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let shutdown = GracefulShutdown()
      let isReading = Flag()
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          // A parser that holds what it has read: the socket itself has nothing unread.
          guard try await socket.waitForMessage() else { return }
          let request = try await socket.read(maxLength: 100)
          try await socket.write(request?.prefix(8) ?? [])
          isReading.set()
          _ = try await socket.read(maxLength: 100)
        }
      }
      let client = try #require(PlainClient(to: server))
      client.send("request\nreq")
      try await until { client.input() == .bytes(Array("request\n".utf8)) }
      try await until { isReading.isSet }
      // Longer than a connection is silent that is taken for one between two messages.
      shutdown.begin(timeout: .milliseconds(700))
      #expect(try await serving.value.numbers == [1, 0, 0, 1])
      #expect(client.nextInput() == .failed(ECONNRESET))
    }
  }
}
