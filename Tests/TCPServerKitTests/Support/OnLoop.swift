// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// A value that never leaves its loop's thread, on its way into a task that runs there.
struct LoopBound<Value>: @unchecked Sendable {
  let value: Value

  init(_ value: Value) {
    self.value = value
  }
}

/// What ends a test that waits for longer than ``Loop/limit``.
struct TookTooLong: Error {}

/// Runs a test on a loop of its own, on a thread of its own, and cancels it when it takes too long, with the tasks
/// that it has started.
func onLoop<Result: Sendable>(
  limit: Duration = Loop.limit,
  _ body: @escaping @Sendable (EventBase) async throws -> Result
) async throws -> Result {
  try await EventBase.withThread { base in
    let started = StartedTasks()
    return try await StartedTasks.$current.withValue(started) {
      try await within(limit, on: base) {
        try await withTaskCancellationHandler {
          try await body(base)
        } onCancel: {
          started.cancelAll()
        }
      }
    }
  }
}

/// Runs `body` as a child task, and cancels it when it takes too long.
func within<Result: Sendable>(
  _ limit: Duration,
  on base: EventBase,
  _ body: @escaping @Sendable () async throws -> Result
) async throws -> Result {
  try await withThrowingTaskGroup(of: Result.self) { group in
    group.addTask { try await body() }
    group.addTask {
      try await base.sleep(for: limit)
      throw TookTooLong()
    }
    defer { group.cancelAll() }
    return try await #require(group.next())
  }
}

/// Turns the loop until `condition` holds; ends by the test's limit. What takes longer is looked at with a pause, so that a
/// test that waits leaves the processor to the others: one of the thread, because a test may have stopped its clock.
func until(_ condition: () -> Bool) async throws {
  var turns = 0
  while !condition() {
    try Task.checkCancellation()
    turns += 1
    if turns > 1000 { usleep(100) }
    await Task.yield()
  }
}

/// Gives the loop turns in which something does not happen.
func turns(_ count: Int = 20) async {
  for _ in 0..<count {
    await Task.yield()
  }
}

func listening(on base: EventBase? = .current) throws -> TCPServer {
  let server = TCPServer(eventBase: base)
  try #require(server.listen(address: .localHost))
  return server
}

/// Starts a task on this thread's loop, and runs it until it first waits.
func start<Result: Sendable>(
  _ body: @escaping @Sendable () async throws -> Result
) -> Task<Result, any Error> {
  let started = StartedTasks.current
  let id = started?.begin()
  let task = Task.immediate(executorPreference: EventBase.current?.taskExecutor) {
    defer { started?.end(id) }
    return try await body()
  }
  started?.add(id) { task.cancel() }
  return task
}

/// The two ends of a connection: the server's socket, and a client made of system calls. Both stay on the
/// loop's thread, in whichever task.
struct Pair: @unchecked Sendable {
  let socket: TCPSocket
  let client: PlainClient

  /// - Parameter tight: the kernel's buffers have so little room that a writer of 1 MiB has to wait.
  init(tight: Bool = false) async throws {
    let server = try listening()
    client = try #require(tight ? PlainClient(to: server, receiveBuffer: 65536) : PlainClient(to: server))
    socket = try #require(await server.accept())
    if tight { #expect(socket.setSocketOption(.sendBufferSize, 65536)) }
  }
}

/// Serves with `handler` while `body` runs beside it, then cancels the server.
@discardableResult
func whileServing(
  maxConnections: Int? = nil,
  handler: @escaping @Sendable (TCPSocket) async throws -> Void,
  _ body: (TCPServer) async throws -> Void
) async throws -> ServingReport {
  try await whileServing(on: listening(), maxConnections: maxConnections, handler: handler, body)
}

/// The same with a server that listens already.
@discardableResult
func whileServing<Server: TCPServer>(
  on server: Server,
  maxConnections: Int? = nil,
  handler: @escaping @Sendable (TCPSocket) async throws -> Void,
  _ body: (Server) async throws -> Void
) async throws -> ServingReport {
  let bound = LoopBound(server)
  let serving = start {
    try await bound.value.serve(maxConnections: maxConnections, handler: handler)
  }
  do {
    try await body(server)
  } catch {
    serving.cancel()
    _ = await serving.result
    throw error
  }
  serving.cancel()
  let report = try await serving.value
  expectBalanced(server)
  return report
}

func text(_ bytes: [UInt8]?) -> String? {
  bytes.map { String(decoding: $0, as: UTF8.self) }
}

extension ServingReport {
  /// Served, failed, ended in time, cancelled.
  var numbers: [UInt64] {
    [served, failed, endedInTime, cancelled]
  }
}

extension TCPSocket {
  /// Writes without waiting, so that the socket holds what the kernel has no room for.
  @discardableResult
  func hold(_ count: Int) -> Int {
    write([UInt8](repeating: 7, count: count))
  }
}
