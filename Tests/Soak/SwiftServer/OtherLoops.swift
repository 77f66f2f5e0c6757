// SPDX-License-Identifier: Apache-2.0

import Synchronization
import TCPServerKit

/// Threads beside that of the connections' loop, each with a loop for its tasks.
final class OtherLoops: Sendable {
  private let loops: [EventBase]
  private let next = Atomic(0)

  init(_ count: Int) throws {
    loops = try (0..<count).map { _ in try Self.start() }
  }

  private static func start() throws -> EventBase {
    let base = try EventBase()
    startThread { base.run() }
    return base
  }

  /// Sends back what comes: one task reads, and another one, on another thread, writes by each kind of call in turn.
  func echo(_ socket: TCPSocket) async throws {
    let first = next.add(1, ordering: .relaxed).oldValue
    let (pieces, end) = AsyncThrowingStream.makeStream(of: [UInt8].self)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask(executorPreference: loops[first % loops.count].taskExecutor) {
        do {
          while let bytes = try await socket.read(maxLength: 65536) { end.yield(bytes) }
          end.finish()
        } catch {
          end.finish(throwing: error)
        }
      }
      group.addTask(executorPreference: loops[(first + 1) % loops.count].taskExecutor) {
        var isPosted = first % 2 == 0
        for try await bytes in pieces {
          if isPosted {
            Self.post(bytes, to: socket)
          } else {
            try await socket.write(bytes)
          }
          isPosted.toggle()
        }
        try await socket.waitUntilWritten()
      }
      try await group.waitForAll()
    }
  }

  private static func post(_ bytes: [UInt8], to socket: TCPSocket) {
    socket.write(bytes)
  }
}
