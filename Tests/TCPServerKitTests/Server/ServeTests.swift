// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("serve()", .timeLimit(.minutes(5)))
struct ServeTests {
  @Test("An echo server in a handler answers, and ends with its shutdown")
  func echo() async throws {
    try await onLoop { _ in
      let server = try listening()
      let port = server.serverPort
      let shutdown = GracefulShutdown()
      let client = start {
        defer { shutdown.begin(timeout: .seconds(60)) }
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: port)
        for round in 0..<100 {
          try await client.write("hello \(round)\n")
          #expect(text(try await client.readLine()) == "hello \(round)\n")
        }
        client.finishWriting()
        #expect(try await client.readLine() == nil)
      }
      let report = try await server.serve(shutdown: shutdown) { socket in
        while let line = try await socket.readLine() {
          try await socket.write(line)
        }
      }
      try await client.value
      #expect(report.served == 1 && report.failed == 0 && report.cancelled == 0)
      #expect(server.statistics.accepted == 1)
      expectBalanced(server)
    }
  }

  @Test("Cancelling the serving task aborts its handlers and stops listening")
  func cancel() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let hasRead = Gate()
      let serving = start {
        try await bound.value.serve { socket in
          _ = try await socket.read(exactly: 2)
          hasRead.open()
          _ = try await socket.readLine()
        }
      }
      let client = try #require(PlainClient(to: server))
      client.send("no newline")
      await hasRead.pass()
      serving.cancel()
      #expect(try await serving.value.numbers == [1, 0, 0, 1])
      #expect(!server.isListening)
      #expect(client.nextInput() == .failed(ECONNRESET))
      expectBalanced(server)
    }
  }

  @Test(
    "Cancelled while it waits for a client, by any thread, it ends",
    arguments: [0, 1, 3],
    [false, true]
  )
  func cancelledWhileAccepting(clients count: Int, isElsewhere: Bool) async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let serving = start { try await bound.value.serve { _ = try await $0.readLine() } }
      // Each wakes the accepting task, which then waits for the next one.
      var clients: [PlainClient] = []
      for number in 0..<count {
        clients.append(try #require(PlainClient(to: server)))
        try await until { server.statistics.delivered == number + 1 }
      }
      await turns(3)
      if isElsewhere {
        await Task.detached { serving.cancel() }.value
      } else {
        serving.cancel()
      }
      #expect(try await serving.value.served == count)
      #expect(!server.isListening)
      expectBalanced(server)
    }
  }

  @Test("Called from the pool or from the main actor, it runs on the server's loop all the same")
  func calledFromElsewhere() async throws {
    try await onLoop { _ in
      let callers: [@Sendable (LoopBound<TCPServer>, @escaping Handler) async throws -> ServingReport] = [
        { server, handler in try await Task.detached { try await server.value.serve(handler: handler) }.value
        },
        { @MainActor server, handler in try await server.value.serve(handler: handler) },
      ]
      let loopThread = OtherThread.currentID
      for call in callers {
        let server = try listening()
        let bound = LoopBound(server)
        let serving = start {
          try await call(bound) { try await $0.write(OtherThread.currentID == loopThread ? "loop" : "other") }
        }
        let client = try #require(PlainClient(to: server))
        try await until { client.input() == .bytes(Array("loop".utf8)) }
        server.close()
        #expect(try await serving.value.served == 1)
      }
    }
  }

  private typealias Handler = @Sendable (TCPSocket) async throws -> Void

  @Test("A handler's socket ends with it, also where another reference is kept", arguments: [false, true])
  func keptSocket(cancelled: Bool) async throws {
    try await onLoop { base in
      let kept = LoopBound(Kept())
      try await whileServing { socket in
        kept.value.socket = socket
        if cancelled { try await base.sleep(for: .seconds(1000)) }
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { kept.value.socket != nil }
        if !cancelled { try await until { client.input() == .end } }
      }
      #expect(kept.value.socket?.state == .unconnected)
    }
  }

  private final class Kept {
    var socket: TCPSocket?
  }

  @Test("A limit of less than 1 is one of 1", arguments: [0, -1, .min])
  func leastLimit(limit: Int) async throws {
    try await onLoop { _ in
      let (now, most) = (Shared(0), Shared(0))
      let report = try await whileServing(maxConnections: limit) { socket in
        now.value += 1
        most.value = max(most.value, now.value)
        try await socket.write(socket.readLine() ?? [])
        now.value -= 1
      } _: { server in
        let clients = try (0..<3).map { _ in try #require(PlainClient(to: server)) }
        for client in clients.reversed() { client.send("line\n") }
        for client in clients {
          try await until { client.input() == .bytes(Array("line\n".utf8)) }
          client.end()
        }
      }
      #expect(most.value == 1)
      #expect(report.numbers == [3, 0, 0, 0])
    }
  }

  @Test("A sequence of connections hands each to a task of its own")
  func sequence() async throws {
    try await onLoop { base in
      let server = try listening()
      let port = server.serverPort
      let clients = start {
        for _ in 0..<50 {
          let client = TCPSocket()
          try await client.connect(to: "127.0.0.1", port: port)
          #expect(text(try await client.readLine()) == "hi\n")
        }
      }
      try await withThrowingTaskGroup { group in
        var count = 0
        for try await connection in server.incomingConnections {
          group.addTask {
            let socket = try connection.socket(on: base)
            try await socket.write("hi\n")
            await socket.closeGracefully()
          }
          count += 1
          if count == 50 { break }
        }
        try await group.waitForAll()
      }
      try await clients.value
      expectBalanced(server)
    }
  }
}
