// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import TCPServerKit

/// A group within a limit that finishes on a command, with clients waiting, and listens again: every connection is
/// served once, and never more at a time than the limit.
struct ExactlyOnce {
  private let group: TCPServerGroup
  private let limit: Int
  private let most = Shared()

  /// How many handlers run, and ran at once.
  private final class Shared: Sendable {
    let now = Atomic(0)
    let most = Atomic(0)
  }

  init(_ name: String, limit: Int, on loops: EventBaseGroup) throws {
    let ways: [String: Distribution] = [
      "leastConnections": .leastConnections, "sharedQueue": .sharedQueue, "shards": .shards,
    ]
    guard let distribution = ways[name] else { throw SocketError.operation }
    group = TCPServerGroup(on: loops, distribution: distribution)
    self.limit = limit
  }

  /// - Parameter commands: ends the server with the last.
  func run(_ commands: AsyncStream<String>, _ handler: @escaping @Sendable (TCPSocket) async throws -> Void)
    async throws
  {
    try await group.listen(address: .localHost)
    let port = group.serverPort
    tell("listening \(port)")
    var serving = serve(handler)
    for await command in commands {
      switch command {
      case "report": report()
      case "finish":
        group.finish()
        _ = try await serving.value
        try await group.listen(address: .localHost, port: port)
        serving = serve(handler)
        tell("done")
      default:
        group.close()
        _ = try await serving.value
        let most = most.most.load(ordering: .relaxed)
        let pauses = group.statistics.overloadPauses
        tell("\(most) handlers at once at most, accepting paused \(pauses) times", to: STDERR_FILENO)
        tell("done")
        return
      }
    }
  }

  private func serve(
    _ handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) -> Task<ServingReport, any Error> {
    Task(executorPreference: group.eventBases.eventBases[0].taskExecutor) { [group, limit, most] in
      try await group.serve(maxConnections: limit) { socket in
        most.most.max(most.now.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
        defer { most.now.subtract(1, ordering: .relaxed) }
        try await handler(socket)
      }
    }
  }

  private func report() {
    let now = group.statistics
    let ended =
      now.discardedOnClose + now.shed + now.rejectedByAdmission + now.rejectedByLimit
      + now.rejectedBySourceLimit + now.rejectedBySourceRate
      + now.inPreface + now.endedInPreface
    let isBalanced = now.accepted + now.added == now.delivered + now.pending + now.inMailbox + ended
    let isWithin = most.most.load(ordering: .relaxed) <= limit
    let isIdle = now.live == 0
    // While connections come and go, the loops' counters are of different moments.
    let failures = (isIdle && !isBalanced ? 1 : 0) + (isWithin ? 0 : 1)
    let numbers = [
      now.accepted, now.delivered, now.pending + now.inMailbox, now.discardedOnClose, now.peerErrors,
      now.resourceErrors, now.listenerErrors, UInt64(Commands.countDescriptors()), UInt64(failures),
    ]
    tell("report " + numbers.map(String.init).joined(separator: " "))
  }
}
