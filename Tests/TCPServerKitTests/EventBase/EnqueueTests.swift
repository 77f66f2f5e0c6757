// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Jobs given to the loop, and those of them that came from another thread.
struct Jobs: Equatable, CustomStringConvertible {
  var all: UInt64
  var fromElsewhere: UInt64

  init(_ all: UInt64, fromElsewhere: UInt64 = 0) {
    self.all = all
    self.fromElsewhere = fromElsewhere
  }

  var description: String {
    "\(all) (\(fromElsewhere) from another thread)"
  }

  static let rounds: UInt64 = 1000

  /// The jobs of one round of `body`, after a first one that does not count.
  static func each(_ base: EventBase, _ body: () async throws -> Void) async rethrows -> Jobs {
    try await body()
    let before = base.statistics
    for _ in 0..<rounds {
      try await body()
    }
    let after = base.statistics
    let all = after.jobs - before.jobs
    let fromElsewhere = after.jobsFromOtherThreads - before.jobsFromOtherThreads
    // After every 256 calls without a wait, one job has the other sockets have their turn.
    #expect(all % rounds <= rounds / 256 + 1, "\(all) jobs in \(rounds) rounds")
    return Jobs(all / rounds, fromElsewhere: fromElsewhere / rounds)
  }
}

/// What a served connection costs in jobs.
@Suite("Jobs of a served connection", .timeLimit(.minutes(5)))
struct EnqueueTests {
  @Test("Starting handlers costs none: one job wakes the server, however many connections it finds")
  func startingHandlers() async throws {
    try await onLoop { base in
      let server = try listening()
      let bound = LoopBound(server)
      let record = LoopBound(Record())
      let serving = start {
        try await bound.value.serve { _ in
          record.value.started.append(base.statistics)
          if record.value.started.count == 30 { record.value.waiter?.resume() }
        }
      }
      await turns(3)
      // The loop sees nothing of this before its next turn.
      let clients = (0..<30).compactMap { _ in PlainClient(to: server) }
      let before = base.statistics
      // Not by yielding, which would give the loop jobs of this task.
      await withCheckedContinuation { record.value.waiter = $0 }
      let first = try #require(record.value.started.first)
      #expect(record.value.started.allSatisfy { $0 == first })
      #expect(first.jobs - before.jobs == 1)
      #expect(first.jobsFromOtherThreads == before.jobsFromOtherThreads)
      serving.cancel()
      #expect(try await serving.value.served == UInt64(clients.count))
    }
  }

  private final class Record {
    var started: [EventBase.Statistics] = []
    var waiter: CheckedContinuation<Void, Never>?
  }

  @Test("A read that waits costs the one job of its wake-up, a read that finds data and a write none")
  func readingAndWriting() async throws {
    try await onLoop { base in
      let outcome = LoopBound(Outcome())
      try await whileServing { socket in
        outcome.value.waiting = try await Jobs.each(base) {
          try await socket.write("ping")
          _ = try await socket.read(exactly: 4)
        }
        try await socket.write("more")
        _ = try await socket.read(exactly: 1)
        outcome.value.finding = try await Jobs.each(base) { _ = try await socket.read(exactly: 1) }
        outcome.value.writing = try await Jobs.each(base) { try await socket.write("x") }
        outcome.value.isDone = true
        outcome.value.waiter?.resume()
      } _: { server in
        // A client of callbacks, which gives the loop no jobs. It answers in a later turn, so reads wait.
        let client = TCPSocket()
        client.readyRead.connect { [unowned client] in
          switch text(client.readAll()) {
          case "ping": client.write("pong")
          case "more": client.write(String(repeating: "y", count: Int(Jobs.rounds) + 2))
          default: break
          }
        }
        client.connectToHost(.localHost, port: server.serverPort)
        // Not by yielding or sleeping, which would give the loop jobs of this task.
        await withCheckedContinuation { continuation in
          if outcome.value.isDone {
            continuation.resume()
          } else {
            outcome.value.waiter = continuation
          }
        }
        client.abort()
      }
      print("a read that waits, and a write:", outcome.value.waiting ?? "-")
      print("a read that finds data:", outcome.value.finding ?? "-")
      print("a write:", outcome.value.writing ?? "-")
      #expect(outcome.value.waiting == Jobs(1))
      #expect(outcome.value.finding == Jobs(0))
      #expect(outcome.value.writing == Jobs(0))
    }
  }

  private final class Outcome {
    var waiting: Jobs?
    var finding: Jobs?
    var writing: Jobs?
    var isDone = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  @Test("accept() costs the one job of its wake-up, whether serve(), the sequence or a task calls it")
  func accepting() async throws {
    try await onLoop { base in
      let server = try listening()
      let port = server.serverPort
      let connector = LoopBound(Connector(port: port))
      let each = try await Jobs.each(base) {
        connector.value.connect()
        let socket = try #require(await server.accept())
        socket.abort()
      }
      print("accept():", each)
      #expect(each == Jobs(1))
      var iterator = server.incomingConnections.makeAsyncIterator()
      let sequence = try await Jobs.each(base) {
        connector.value.connect()
        _ = try await iterator.next()
      }
      #expect(sequence == Jobs(1))
      expectBalanced(server)
    }
  }

  /// Connects when the loop turns next, so that the accepting task waits.
  private final class Connector {
    private let port: UInt16
    private var client: PlainClient?

    init(port: UInt16) {
      self.port = port
    }

    func connect() {
      client = PlainClient(port: port)
    }
  }
}
