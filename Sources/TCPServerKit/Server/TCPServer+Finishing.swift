// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Ending in order: no client whom the kernel has accepted is rejected.
extension TCPServer {
  /// Stops listening in order: the clients that the kernel has already completed become pending first, whatever
  /// the limits say, and what is pending can still be taken. From any thread.
  public final func finish() {
    guard !isPosted("TCPServer.finish()", { $0.finish() }) else { return }
    if let group { group.finish() } else { finishHere() }
  }

  func finishHere() {
    hasEnded = true
    neverWaited = nil
    exchange(&proxyListener, with: nil)?.finish()
    unsafe csc_server_finish(core)
    endPause()
    serverCore.acceptWaiters.wakeAll()
  }

  /// Calls ``finish()`` on the server's loop when a shutdown begins, which is after its delay; at once if it has begun.
  ///
  /// For a server whose connections are taken by ``accept()``, ``incomingConnections`` or ``nextPendingConnection()``:
  /// `serve` does this itself. Call it when the server listens; what has begun before is not undone by listening
  /// later.
  ///
  /// It holds, through ``close()`` and later ``listen(address:port:)`` calls, until the server is released or the
  /// call is made again. The shutdown keeps no server alive.
  ///
  /// - Parameter shutdown: begins on any thread. A server without an event base cannot be notified: then
  ///   ``serverError`` is ``SocketError/operation``, unless the shutdown has begun already.
  public final func finish(on shutdown: GracefulShutdown) {
    guard !isPosted("TCPServer.finish(on:)", { $0.finish(on: shutdown) }) else { return }
    shutdownRegistration = nil
    if shutdown.hasBegun {
      finish()
    } else if let engine = eventBase?.engine {
      shutdownRegistration = ShutdownRegistration(of: self, on: shutdown, engine: engine)
    } else {
      failWithoutLoop("finish(on:)")
    }
  }

  // MARK: - The last connection

  /// Waits until the server has no connection any more: none is pending, and all that were taken have ended or were
  /// given away, as ``Statistics-swift.struct/live`` counts them.
  ///
  /// Call ``close()`` or ``finish()`` before: while the server accepts, each new connection is waited for as well.
  ///
  /// - Parameter timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: whether there is no connection. A server without an event base cannot wait: then ``serverError`` is
  ///   ``SocketError/operation`` and the answer false.
  ///
  /// ## Cancellation
  ///
  /// Throws `CancellationError` where there still are connections, to which nothing happens.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @discardableResult
  public final func waitUntilConnectionsEnded(timeout: Duration? = nil) async throws(CancellationError)
    -> Bool
  {
    guard let engine = eventBase?.engine else {
      requireLoopThread("TCPServer.waitUntilConnectionsEnded(timeout:) without an EventBase")
      failWithoutLoop("waitUntilConnectionsEnded()")
      return false
    }
    if engine.isOwner, liveConnections == 0 { return true }
    let haveEnded = await engine.run { await self.connectionsEnded(timeout, engine) }
    guard let haveEnded else { throw CancellationError() }
    return haveEnded
  }

  /// - Returns: nil when the task was cancelled.
  private final func connectionsEnded(_ timeout: Duration?, _ engine: EventEngine) async -> Bool? {
    let waiters = serverCore.endWaiters
    let deadline = timeout.map { ContinuousClock.now + $0.limited }
    var reason = WaiterSlot.WakeReason.ready
    while liveConnections > 0 && !Task.isCancelled && reason != .timedOut {
      let waiter = waiters.add()
      let timer = deadline.map { deadline in
        LoopTimer(engine, after: deadline - .now) { waiter.wake(.timedOut) }
      }
      reason = await engine.suspend(on: waiter)
      withExtendedLifetime(timer) {}
      waiters.remove(waiter)
    }
    if liveConnections == 0 { return true }
    return Task.isCancelled ? nil : false
  }

  /// ``waitUntilConnectionsEnded(timeout:)`` for a caller who is no task: runs the loop meanwhile. For a program's main
  /// thread, once ``EventBase/run()`` has returned; ``EventBase/stop()`` does not end it.
  ///
  /// - Parameter timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: whether there is no connection. False, with ``SocketError/operation`` as ``serverError``, for a server
  ///   without an event base, and when it is called by what runs on the loop already.
  @available(*, noasync, message: "It blocks its thread: use waitUntilConnectionsEnded(timeout:)")
  @discardableResult
  public final func runUntilConnectionsEnded(timeout: Duration? = nil) -> Bool {
    requireLoopThread("TCPServer.runUntilConnectionsEnded(timeout:)")
    guard let eventBase else {
      failWithoutLoop("runUntilConnectionsEnded()")
      return false
    }
    guard !eventBase.engine.isOwner else {
      fail(.operation, "runUntilConnectionsEnded() called by what runs on the event base")
      return false
    }
    eventBase.run(until: timeout.map { ContinuousClock.now + $0.limited }) { liveConnections == 0 }
    return liveConnections == 0
  }

  // MARK: -

  /// A server's registration with a shutdown, which ends with it.
  final class ShutdownRegistration {
    private let shutdown: GracefulShutdown
    private let id: UInt64

    /// Looked at on the server's loop alone, so that the server is never released elsewhere.
    private final class Place {
      weak var server: TCPServer?
    }

    init(of server: TCPServer, on shutdown: GracefulShutdown, engine: EventEngine) {
      nonisolated(unsafe) let place = Place()
      unsafe place.server = server
      self.shutdown = shutdown
      id = shutdown.observe { [weak engine, weak shutdown] in
        // The server accepts as long as the shutdown is only announced.
        guard shutdown?.hasBegun ?? false else { return }
        engine?.post(
          .closure {
            // Once: a shutdown whose time becomes shorter calls this again.
            unsafe exchange(&place.server, with: nil)?.finish()
          }
        )
      }
    }

    deinit {
      shutdown.forget(id)
    }
  }
}
