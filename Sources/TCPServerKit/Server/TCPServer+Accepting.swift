internal import CServerCore

/// Accepting with async/await: the same queue, with a task in the place of the handler.
extension TCPServer {
  /// Takes the next connection, waiting for one.
  ///
  /// Connections that arrive while nobody waits are pending, within ``maxPendingConnections``, and the rest
  /// stays in the kernel's queue. Several tasks may wait at once; they are served in order.
  ///
  /// - Returns: the connection; nil when the server does not listen (any more), or the task was cancelled.
  /// - Throws: when the listening socket broke; ``errorString`` has the text.
  ///
  /// ## Cancellation
  ///
  /// A cancelled `accept()` has taken no connection: one that arrives at the same moment stays pending.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the server's event base: a task that prefers
  /// ``EventBase/taskExecutor``. There a wake-up is one job and no thread hop.
  public final func accept() async throws(SocketError) -> TCPSocket? {
    var isInVain = false
    while try await waitForPending(isInVain) {
      if let socket = nextPendingConnection() {
        return socket
      }
      isInVain = true
    }
    return nil
  }

  /// Suspends until a connection is pending; false when none will be, or the task was cancelled.
  ///
  /// - Parameter isInVain: whether an overridden ``hasPendingConnections`` has just said so and there was none. Then the
  ///   next connection is waited for.
  func waitForPending(_ isInVain: Bool = false) async throws(SocketError) -> Bool {
    guard let engine = eventBase?.engine else {
      throw fail(.operation, "accept() called on a server without an event base")
    }
    var isInVain = isInVain
    while !Task.isCancelled {
      if hasPendingConnections && !isInVain {
        return true
      }
      isInVain = false
      guard isListening else {
        if let breakdown {
          throw breakdown
        }
        return false
      }
      let waiter = acceptWaiters.add()
      await engine.suspend(on: waiter)
      acceptWaiters.remove(waiter)
    }
    // The wake-up may have been meant for a connection: the next in line gets it.
    if hasPendingConnections {
      acceptWaiters.wakeFirst()
    }
    return false
  }
}
