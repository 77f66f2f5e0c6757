// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Where handlers run", .timeLimit(.minutes(5)))
struct ServingExecutorTests {
  @Test("What a handler calls on its socket costs no job, on whichever loop of a group it is")
  func noJobs() async throws {
    let jobs = Locked<[UInt64]>([])
    try await onLoops { loops in
      let server = TCPServerGroup(on: loops, distribution: .roundRobin)
      try await whileServing(server) { socket in
        guard let base = EventBase.current else { return }
        let before = base.statistics.jobs
        for _ in 0..<10 {
          // Goes to the loop, and is refused there.
          _ = try? await socket.relay(with: socket)
        }
        let used = base.statistics.jobs - before
        jobs.withLock { $0.append(used) }
      } _: {
        let clients = try (0..<4).map { _ in try #require(PlainClient(port: server.serverPort)) }
        try await until { jobs.withLock { $0.count } == 4 }
        withExtendedLifetime(clients) {}
      }
    }
    #expect(jobs.withLock { $0 } == [0, 0, 0, 0])
  }
}
