// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// The waits of a served task have no handlers for its cancellation: `serve` wakes it instead.
@Suite("Cancelling what serve() started", .timeLimit(.minutes(5)))
struct ServedCancellationTests {
  enum Place: CaseIterable {
    case read
    case readWithTimeout
    case write
    case waitUntilWritten
    case actorRead
    case actorSleep
  }

  private static let much = [UInt8](repeating: 7, count: 32 << 20)

  /// Waits for good; returns or throws when cancelled.
  private static func wait(in place: Place, _ socket: TCPSocket, _ actor: Pinned) async throws {
    switch place {
    case .read: _ = try await socket.readLine()
    case .readWithTimeout: _ = try await socket.readLine(timeout: .seconds(1000))
    case .write: try await socket.write(much)
    case .waitUntilWritten:
      socket.hold(much.count)
      try await socket.waitUntilWritten()
    case .actorRead: try await actor.readLine(LoopBound(socket))
    case .actorSleep: try await actor.sleep(for: .seconds(1000))
    }
  }

  @Test("The deadline of a shutdown ends a handler wherever it waits", arguments: Place.allCases)
  func deadline(place: Place) async throws {
    try await onLoop { base in
      let server = try listening()
      let bound = LoopBound(server)
      let (shutdown, actor, waits) = (GracefulShutdown(), Pinned(to: base), Flag())
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          // A client that has never sent anything would not be waited for.
          _ = try await socket.read(exactly: 1)
          waits.set()
          await #expect(throws: (any Error).self) { try await Self.wait(in: place, socket, actor) }
          #expect(Task.isCancelled)
        }
      }
      let client = try #require(PlainClient(to: server))
      client.send("x")
      try await until { waits.isSet }
      await turns(5)
      shutdown.begin(timeout: .milliseconds(20))
      #expect(try await serving.value.numbers == [1, 0, 0, 1])
      var last = client.nextInput()
      while case .bytes = last { last = client.nextInput() }
      #expect(last == .end || last == .failed(ECONNRESET))
      expectBalanced(server)
    }
  }

  @Test("Cancelling the serving task does so, too", arguments: Place.allCases)
  func cancelled(place: Place) async throws {
    try await onLoop { base in
      let (actor, waits) = (Pinned(to: base), Flag())
      let report = try await whileServing { socket in
        waits.set()
        try await Self.wait(in: place, socket, actor)
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { waits.isSet }
        await turns(5)
        #expect(client.hasEnded == false)
      }
      #expect(report.numbers == [1, 0, 0, 1])
    }
  }

  @Test("A child task of a handler that is cancelled alone ends alone", arguments: [false, true])
  func childTask(inGroup: Bool) async throws {
    try await onLoop { _ in
      let report = try await whileServing { socket in
        let bound = LoopBound(socket)
        if inGroup {
          await withTaskGroup { group in
            group.addTask { await Self.isCancelledReading(bound.value) }
            await turns(3)
            group.cancelAll()
            #expect(await group.next() == true)
          }
        } else {
          // Cancelled by leaving its scope.
          async let reading = Self.isCancelledReading(bound.value)
          await turns(3)
          _ = bound
          if socket.state != .connected { _ = await reading }
        }
        #expect(!Task.isCancelled)
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { server.statistics.delivered == 1 }
        await turns(10)
        client.send("still here\n")
        try await until { client.input() == .bytes(Array("still here\n".utf8)) }
        client.endWriting()
        try await until { client.input() == .end }
      }
      #expect(report.numbers == [1, 0, 0, 0])
    }
  }

  private static func isCancelledReading(_ socket: TCPSocket) async -> Bool {
    do {
      _ = try await socket.readLine()
      return false
    } catch {
      return error is CancellationError
    }
  }

  @Test("Handlers of another serve() on the loop read on undisturbed, and their timeouts hold")
  func otherServer() async throws {
    try await onLoop { _ in
      let ended = Counter()
      try await whileServing { socket in
        let line = try await socket.readLine(timeout: .seconds(1000))
        #expect(text(line) == "undisturbed\n")
        let begin = ContinuousClock.now
        await #expect(throws: SocketError.socketTimeout) {
          try await socket.readLine(timeout: .milliseconds(300))
        }
        let took = ContinuousClock.now - begin
        #expect(took >= .milliseconds(290), "\(took)")
        ended.increment()
      } _: { server in
        let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
        try await until { server.statistics.delivered == 3 }
        for round in 0..<4 {
          // The third cancellation comes while the timeout of 300 ms runs.
          if round == 2 { for client in clients { client.send("undisturbed\n") } }
          let other = try await whileServing {
            _ = try await $0.readLine()
          } _: { other in
            let client = try #require(PlainClient(to: other))
            try await until { other.statistics.delivered == 1 }
            await turns(5)
            withExtendedLifetime(client) {}
          }
          #expect(other.numbers == [1, 0, 0, 1])
          if round < 2 { #expect(ended.value == 0) }
        }
        try await until { ended.value == 3 }
      }
    }
  }
}
