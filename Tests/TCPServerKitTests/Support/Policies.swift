// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// How a handler's connection has ended, and when.
struct HandlerEnd: Sendable {
  let error: SocketError?
  let after: Duration
}

/// Serves with a policy while `body` runs beside it, and notes how each handler ended.
func whileServing(
  by policy: ConnectionPolicy,
  handler: @escaping @Sendable (TCPSocket) async throws -> Void,
  _ body: @escaping @Sendable (LoopBound<TCPServer>, Shared<[HandlerEnd]>) async throws -> Void
) async throws {
  try await onLoop { _ in
    let server = try listening()
    server.connectionPolicy = policy
    let (bound, ends) = (LoopBound(server), Shared<[HandlerEnd]>([]))
    let serving = start {
      try await bound.value.serve { socket in
        let start = ContinuousClock.now
        do {
          try await handler(socket)
          ends.value.append(HandlerEnd(error: nil, after: .now - start))
        } catch let error as SocketError {
          #expect(socket.error == error && socket.errorString == error.description)
          ends.value.append(HandlerEnd(error: error, after: .now - start))
          throw error
        }
      }
    }
    do {
      try await body(bound, ends)
    } catch {
      serving.cancel()
      _ = await serving.result
      throw error
    }
    serving.cancel()
    _ = try await serving.value
    expectBalanced(server)
  }
}
