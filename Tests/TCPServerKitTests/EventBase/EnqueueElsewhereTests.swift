// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// What a call costs the loop in jobs that a task on another thread makes.
@Suite("Jobs of calls from another thread", .timeLimit(.minutes(5)))
struct EnqueueElsewhereTests {
  private static let rounds = 100

  /// What one round of `body`, which a task of the pool runs, costs. All rounds cost the same.
  private func each(
    _ base: EventBase,
    _ body: @escaping @Sendable () async throws -> Void
  ) async throws -> [Jobs] {
    try await Task.detached {
      try await body()
      var costs: [Jobs] = []
      for _ in 0..<Self.rounds {
        // What was posted, and never awaited, has come to the loop by then.
        try await Self.settle(base)
        let before = base.statistics
        try await body()
        let after = base.statistics
        let cost = Jobs(
          after.jobs - before.jobs,
          fromElsewhere: after.jobsFromOtherThreads - before.jobsFromOtherThreads
        )
        if !costs.contains(cost) { costs.append(cost) }
      }
      return costs
    }.value
  }

  /// Waits until the loop has run what it was given.
  private static func settle(_ base: EventBase) async throws {
    await withCheckedContinuation { continuation in base.execute { continuation.resume() } }
  }

  @Test("A read that finds data, and a write, cost the one job that brings them to the loop")
  func withoutWait() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      pair.client.send([UInt8](repeating: 7, count: Self.rounds + 1))
      #expect(try await pair.socket.waitForMessage())
      let reading = try await each(base) { _ = try await pair.socket.read(exactly: 1) }
      #expect(reading == [Jobs(1, fromElsewhere: 1)])
      let writing = try await each(base) { try await pair.socket.write("x") }
      #expect(writing == [Jobs(1, fromElsewhere: 1)])
      let ordering = try await each(base) { pair.socket.write("x") }
      #expect(ordering == [Jobs(1, fromElsewhere: 1)])
    }
  }

  @Test("A read that waits, and accept(), cost one more on the loop's thread")
  func withWait() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let reading = try await each(base) {
        try await Self.whileWaiting(base) {
          _ = try await pair.socket.read(exactly: 1)
        } then: {
          pair.client.send("x")
        }
      }
      // Of whileWaiting(_:_:then:), one job from another thread.
      #expect(reading == [Jobs(3, fromElsewhere: 2)])
      let server = LoopBound(try listening())
      let port = server.value.serverPort
      // A socket that is released elsewhere costs a job of its own.
      let kept = LoopBound(Kept())
      let accepting = try await each(base) {
        try await Self.whileWaiting(base) {
          kept.value.sockets.append(try #require(await server.value.accept()))
        } then: {
          _ = PlainClient(port: port)
        }
      }
      #expect(accepting == [Jobs(3, fromElsewhere: 2)])
      kept.value.sockets = []
      let sleeping = try await each(base) { try await base.sleep(for: .milliseconds(1)) }
      #expect(sleeping == [Jobs(2, fromElsewhere: 1)])
    }
  }

  private final class Kept {
    var sockets: [TCPSocket] = []
  }

  /// Does `action` while the loop has begun to wait for what `body` awaits.
  private static func whileWaiting(
    _ base: EventBase,
    _ body: @escaping @Sendable () async throws -> Void,
    then action: () -> Void
  ) async throws {
    let before = base.statistics.jobsFromOtherThreads
    let waiting = Task.detached { try await body() }
    while base.statistics.jobsFromOtherThreads == before { await Task.yield() }
    // It comes after the job that brings `body` to the loop.
    try await settle(base)
    action()
    try await waiting.value
  }

  @Test("A handler of serve() costs none, wherever serve() is called")
  func serving() async throws {
    try await onLoop { base in
      let server = LoopBound(try listening())
      let record = LoopBound(Record())
      let atFirst = base.statistics.jobsFromOtherThreads
      let serving = Task.detached {
        try await server.value.serve { _ in record.value.started.append(base.statistics) }
      }
      try await until { base.statistics.jobsFromOtherThreads > atFirst }
      await turns(3)
      let before = base.statistics.jobsFromOtherThreads
      let clients = (0..<30).compactMap { _ in PlainClient(to: server.value) }
      try await until { record.value.started.count == clients.count }
      #expect(record.value.started.allSatisfy { $0.jobsFromOtherThreads == before })
      let first = try #require(record.value.started.first)
      #expect(record.value.started.allSatisfy { $0 == first })
      serving.cancel()
      #expect(try await serving.value.served == UInt64(clients.count))
    }
  }

  private final class Record {
    var started: [EventBase.Statistics] = []
  }
}
