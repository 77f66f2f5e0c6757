// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("A shutdown, seen by the program", .timeLimit(.minutes(5)))
struct ShutdownSeenTests {
  @Test("Handlers and their child tasks find it, and no other task does")
  func current() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let (shutdown, seen) = (GracefulShutdown(), Counter())
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          async let child = GracefulShutdown.current
          if GracefulShutdown.current === shutdown, await child === shutdown { seen.increment() }
          await withTaskGroup { group in
            group.addTask { if GracefulShutdown.current === shutdown { seen.increment() } }
          }
        }
      }
      let client = try #require(PlainClient(to: server))
      try await until { client.input() == .end }
      #expect(seen.value == 2)
      #expect(GracefulShutdown.current == nil)
      shutdown.begin(timeout: .seconds(60))
      #expect(try await serving.value.numbers == [1, 0, 0, 0])

      try await whileServing { _ in
        if GracefulShutdown.current == nil { seen.increment() }
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { client.input() == .end }
      }
      #expect(seen.value == 3)
    }
  }

  @Test("A handler can end between two requests")
  func betweenRequests() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let shutdown = GracefulShutdown()
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          while let line = try await socket.readLine() {
            try await socket.write(line)
            if GracefulShutdown.current?.hasBegun ?? true { return }
          }
        }
      }
      let client = try #require(PlainClient(to: server))
      for _ in 0..<2 {
        client.send("request\n")
        try await until { client.input() == .bytes(Array("request\n".utf8)) }
      }
      shutdown.begin(timeout: .seconds(1000))
      client.send("last\n")
      try await until { client.input() == .bytes(Array("last\n".utf8)) }
      try await until { client.input() == .end }
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
    }
  }

  @Test("waitUntilDeadline() returns when the time is over, also one that became shorter, or cancelled")
  func waitsForDeadline() async throws {
    try await onLoop { _ in
      let (shutdown, returned) = (GracefulShutdown(), Counter())
      let waiting = [
        start {
          await shutdown.waitUntilDeadline()
          returned.increment()
        },
        Task.detached {
          await shutdown.waitUntilDeadline()
          returned.increment()
        },
      ]
      shutdown.begin(timeout: .seconds(1000))
      let cancelled = start {
        await shutdown.waitUntilDeadline()
        return Task.isCancelled
      }
      await turns()
      cancelled.cancel()
      #expect(try await cancelled.value)
      #expect(returned.value == 0)
      shutdown.begin(timeout: .milliseconds(20))
      for task in waiting { try await task.value }
      await shutdown.waitUntilDeadline()
    }
  }

  @Test("waitUntilBegun() returns when it begins, on the loop, in the pool and on the main actor")
  func waits() async throws {
    try await onLoop { _ in
      let (shutdown, returned) = (GracefulShutdown(), Counter())
      let loopThread = OtherThread.currentID
      let onLoop = start {
        await shutdown.waitUntilBegun()
        returned.increment()
        #expect(OtherThread.currentID == loopThread)
      }
      let inPool = Task.detached {
        await shutdown.waitUntilBegun()
        returned.increment()
        #expect(OtherThread.currentID != loopThread)
      }
      let onMain = Task { @MainActor in
        await shutdown.waitUntilBegun()
        MainActor.preconditionIsolated()
        returned.increment()
      }
      await turns()
      #expect(returned.value == 0)
      OtherThread { shutdown.begin(timeout: .seconds(60)) }.join()
      try await onLoop.value
      await inPool.value
      await onMain.value
      // At once, when it has begun.
      await shutdown.waitUntilBegun()
    }
  }

  @Test("Cancelled, waitUntilBegun() returns, and the shutdown has not begun", arguments: [false, true])
  func cancelled(before: Bool) async throws {
    try await onLoop { _ in
      let shutdown = GracefulShutdown()
      let waiting = start {
        if before { unsafe withUnsafeCurrentTask { unsafe $0?.cancel() } }
        await shutdown.waitUntilBegun()
        return shutdown.hasBegun
      }
      await turns(3)
      waiting.cancel()
      let hasBegun = try await waiting.value
      #expect(!hasBegun)
    }
  }

  @Test("Cancelled at the very moment it begins, waitUntilBegun() returns once")
  func race() async throws {
    try await onLoop { _ in
      for _ in 0..<200 {
        let shutdown = GracefulShutdown()
        let waiting = Task.detached { await shutdown.waitUntilBegun() }
        let other = OtherThread { shutdown.begin() }
        waiting.cancel()
        await waiting.value
        other.join()
      }
    }
  }

  @Test("finish(on:) ends the sequence in order, from another thread, and at once where it has begun")
  func finishes() async throws {
    try await onLoop { _ in
      let server = try listening()
      let port = server.serverPort
      let shutdown = GracefulShutdown()
      server.finish(on: shutdown)
      let bound = LoopBound(server)
      let iterating = start {
        var count = 0
        for try await _ in bound.value.incomingConnections { count += 1 }
        return count
      }
      await turns(3)
      #expect(server.isListening)
      // The kernel completes these before the server has heard of them.
      let clients = (0..<40).compactMap { _ in PlainClient(port: port) }
      OtherThread { shutdown.begin(timeout: .seconds(60)) }.join()
      let count = try await iterating.value
      #expect(count == 40)
      #expect(!server.isListening)
      expectBalanced(server)
      withExtendedLifetime(clients) {}

      let late = try listening()
      late.finish(on: shutdown)
      #expect(!late.isListening)
      let connection = try await late.accept()
      #expect(connection == nil)
    }
  }

  @Test("finish(on:) outlasts close() and listen(), and the last call counts")
  func outlasts() async throws {
    try await onLoop { _ in
      let server = try listening()
      let (first, second) = (GracefulShutdown(), GracefulShutdown())
      server.finish(on: first)
      server.finish(on: second)
      server.close()
      try #require(server.listen(address: .localHost))
      first.begin()
      await turns()
      #expect(server.isListening)
      second.begin()
      try await until { !server.isListening }
    }
  }

  @Test("finish(on:) keeps no server alive, and a released server is not asked for")
  func keepsNothing() async throws {
    try await onLoop { _ in
      let shutdown = GracefulShutdown()
      weak var watched: TCPServer?
      do {
        let server = try listening()
        watched = server
        server.finish(on: shutdown)
      }
      #expect(watched == nil)
      let server = try listening()
      server.finish(on: shutdown)
      let released = LoopBound(Released(server))
      // Begun, and not yet posted to the loop, when the server goes.
      shutdown.begin()
      released.value.server = nil
      await turns(3)
    }
  }

  private final class Released {
    var server: TCPServer?

    init(_ server: TCPServer) {
      self.server = server
    }
  }

  @Test("Without an event base finish(on:) is refused, unless it can finish at once")
  func withoutLoop() throws {
    let server = try listening(on: nil)
    let shutdown = GracefulShutdown()
    server.finish(on: shutdown)
    #expect(server.serverError == .operation && server.isListening)
    shutdown.begin()
    #expect(server.isListening)
    server.finish(on: shutdown)
    #expect(!server.isListening)
  }
}
