// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Accepting with async/await: the same queue, with a task in the place of the handler.
extension TCPServer {
  /// Takes the next connection, waiting for one.
  ///
  /// Connections that arrive while no task waits are pending, within ``maxPendingConnections``, and the rest
  /// stays in the kernel's queue. Several tasks may wait at once; they are served in order.
  ///
  /// - Returns: the connection; nil when the server was closed or finished, or its proxy has given the peer it was to.
  /// - Throws: when the listening socket broke; ``SocketError/operation`` for a server that does not listen because
  ///   ``listen(address:port:)`` was not called, or has failed. ``errorString`` has the text.
  ///
  /// ## Cancellation
  ///
  /// A cancelled `accept()` throws `CancellationError` and has taken no connection: one that arrives at the same moment
  /// stays pending.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. In one that prefers ``EventBase/taskExecutor`` a wake-up is one job and no thread hop.
  public final func accept() async throws -> TCPSocket? {
    try await accepting { $0.nextPendingConnection() }
  }

  /// Calls `take` on the loop until it has something, and waits for connections in between; nil when none will come.
  @inline(__always)
  final func accepting<Connection>(
    leaving waiter: WaiterQueue.Waiter? = nil,
    _ take: (TCPServer) -> Connection?
  ) async throws -> Connection? {
    guard confinement.isOwner else { return try await acceptingElsewhere(leaving: waiter, take) }
    if let waiter { serverCore.acceptWaiters.remove(waiter) }
    // An overridden `hasPendingConnections` has said that there is one, and there was none: the next is waited for.
    var isInVain = false
    while let engine = try engineForPending(isInVain) {
      if hasPendingConnections && !isInVain {
        if let connection = take(self) { return connection }
        isInVain = true
        continue
      }
      isInVain = false
      serverCore.noteAwaited()
      let waiter = serverCore.acceptWaiters.add()
      await engine.suspend(on: waiter)
      guard confinement.isOwner else { return try await acceptingElsewhere(leaving: waiter, take) }
      serverCore.acceptWaiters.remove(waiter)
    }
    try checkHasEnded()
    return nil
  }

  /// Where no connection will come, the server has ended. One that does not listen otherwise was to do so: without an
  /// error its program would end as if all had been served.
  private final func checkHasEnded() throws {
    guard hasEnded else { throw fail(.operation, "accept() called on a server that does not listen") }
  }

  @inline(never)
  private final func acceptingElsewhere<Connection>(
    leaving waiter: WaiterQueue.Waiter?,
    _ take: (TCPServer) -> Connection?
  ) async throws -> Connection? {
    guard let engine = eventBase?.engine else {
      throw failWithoutLoop("accept()")
    }
    return try await engine.run { try await self.accepting(leaving: waiter, take) }
  }

  /// The engine to wait with; nil when no connection will come.
  final func engineForPending(_ isInVain: Bool) throws -> EventEngine? {
    guard !CurrentTask.isCancelled else {
      // The wake-up may have been meant for a connection: the next in line gets it.
      if hasPendingConnections { serverCore.acceptWaiters.wakeFirst() }
      throw CancellationError()
    }
    // A member is notified of its end. It does not look whether the group listens, which may do so again by now.
    guard hasPendingConnections && !isInVain || (isMember ? !hasEnded : isListeningNow) || hasPrefaces else {
      if let breakdown = serverCore.listenerFailure { throw breakdown }
      return nil
    }
    guard let engine = eventBase?.engine else { return nil }
    if engine.hasEndedWithBody && (!hasPendingConnections || isInVain) {
      throw fail(Failure(.operation, "The loop of the event base has ended"))
    }
    return engine
  }
}
