// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

typealias ConnectionHandler = @Sendable (TCPSocket) async throws -> Void

/// Runs `body` on the first of `count` loops, each on a thread of its own.
func withLoops<Success: Sendable>(
  _ count: Int,
  besides others: [EventBase] = [],
  _ body: @escaping @Sendable ([EventBase]) async throws -> Success
) async throws -> Success {
  try await EventBase.withThread { loop in
    let loops = [loop] + others
    guard loops.count < count else { return try await body(loops) }
    return try await withLoops(count, besides: loops, body)
  }
}

/// Accepts on the first loop, where it is called, and hands the connections to all of them in turn.
///
/// - Returns: how many there were, when the shutdown has begun and they have ended, or their time is over.
func share(
  _ server: TCPServer,
  among loops: [EventBase],
  until shutdown: GracefulShutdown,
  handler: @escaping ConnectionHandler
) async throws -> UInt64 {
  // Ends the sequence of connections.
  server.finish(on: shutdown)
  return try await withThrowingTaskGroup(of: UInt64.self) { group in
    group.addTask {
      try await handOut(server, to: loops, handler)
    }
    group.addTask {
      await shutdown.waitUntilDeadline()
      return 0
    }
    var served: UInt64 = 0
    for try await count in group {
      served += count
      group.cancelAll()
    }
    return served
  }
}

private func handOut(
  _ server: TCPServer,
  to loops: [EventBase],
  _ handler: @escaping ConnectionHandler
) async throws -> UInt64 {
  try await withThrowingDiscardingTaskGroup { group in
    var served = 0
    for try await connection in server.incomingConnections {
      let loop = loops[served % loops.count]
      served += 1
      group.addTask(executorPreference: loop.taskExecutor) {
        await serve(connection, on: loop, handler)
      }
    }
    return UInt64(served)
  }
}

/// What `TCPServer.serve` does for the connections of its own loop.
private func serve(_ connection: IncomingConnection, on loop: EventBase, _ handler: ConnectionHandler) async {
  guard let socket = try? connection.socket(on: loop) else { return }
  // An error ends this connection only.
  try? await handler(socket)
  if Task.isCancelled {
    socket.abort()
  } else {
    await socket.closeGracefully()
  }
}
