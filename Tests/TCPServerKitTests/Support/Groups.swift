// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Runs a test beside loops of their own, each on a thread of its own, and cancels it when it takes too long. The test
/// itself is on a further thread, which it may block.
func onLoops<Result: Sendable>(
  _ count: Int = 2,
  accepting: AcceptingLoop = .first,
  _ body: @escaping @Sendable (EventBaseGroup) async throws -> Result
) async throws -> Result {
  try await EventBaseGroup.withThreads(loops: count, accepting: accepting) { group in
    try await EventBase.withThread { own in
      try await within(Loop.limit, on: own) { try await body(group) }
    }
  }
}

/// Serves with `handler` while `body` runs beside it, and ends with a shutdown.
@discardableResult
func whileServing(
  _ server: TCPServerGroup,
  maxConnections: Int? = nil,
  handler: @escaping @Sendable (TCPSocket) async throws -> Void,
  _ body: @escaping @Sendable () async throws -> Void
) async throws -> ServingReport {
  if !server.isListening { try await server.listen(address: .localHost) }
  let shutdown = GracefulShutdown()
  let report = try await withThrowingTaskGroup(of: ServingReport?.self) { tasks in
    // Not on this thread, which the body may block.
    tasks.addTask(executorPreference: server.eventBases.eventBases[0].taskExecutor) {
      try await server.serve(maxConnections: maxConnections, shutdown: shutdown, handler: handler)
    }
    tasks.addTask {
      defer { shutdown.begin(timeout: .seconds(60)) }
      try await body()
      return nil
    }
    return try await tasks.reduce(nil) { $0 ?? $1 }
  }
  expectBalanced(server)
  return try #require(report)
}

extension Distribution {
  /// One loop accepts, or each does, from one queue or from its own.
  static let eachWay: [Distribution] = [.leastConnections, .sharedQueue, .shards]
}

/// Every connection is accounted for: soon, because a loop empties its mailbox before it publishes what it has counted.
func expectBalanced(_ server: TCPServerGroup, sourceLocation: SourceLocation = #_sourceLocation) {
  let deadline = ContinuousClock.now + .seconds(60)
  while !isBalanced(server.statistics), ContinuousClock.now < deadline { sched_yield() }
  let now = server.statistics
  #expect(isBalanced(now), "\(now)", sourceLocation: sourceLocation)
}

private func isBalanced(_ now: TCPServer.Statistics) -> Bool {
  let ended =
    now.discardedOnClose + now.shed + now.rejectedByAdmission + now.rejectedByLimit
    + now.rejectedBySourceLimit + now.rejectedBySourceRate
    + now.inPreface + now.endedInPreface
  return now.accepted + now.added == now.delivered + now.pending + now.inMailbox + ended
}

/// Blocks a thread until it is opened, for good.
final class Blockade: Sendable {
  private let ends: (read: CInt, write: CInt)

  init() throws {
    var both: [CInt] = [-1, -1]
    try #require(unsafe pipe(&both) == 0)
    for end in both { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    ends = (both[0], both[1])
  }

  deinit {
    close(ends.read)
    close(ends.write)
  }

  func block() {
    var entry = pollfd(fd: ends.read, events: Int16(POLLIN), revents: 0)
    _ = unsafe poll(&entry, 1, -1)
  }

  func open() {
    var byte: UInt8 = 0
    _ = unsafe write(ends.write, &byte, 1)
  }
}

extension PlainClient {
  convenience init?(to server: TCPServerGroup) {
    self.init(port: server.serverPort)
  }
}
