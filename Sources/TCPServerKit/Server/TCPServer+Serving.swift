// SPDX-License-Identifier: Apache-2.0

extension TCPServer {
  /// Serves every connection with `handler`, each as a child task on the loop, until the server ends.
  ///
  /// ```swift
  /// try await server.serve { socket in
  ///   while let line = try await socket.readLine() {
  ///     try await socket.write(line)
  ///   }
  /// }
  /// ```
  ///
  /// The handler starts at once, on the thread that accepted, and stays there. When it returns or throws, its
  /// socket is closed in order: what was written is delivered. A handler's error ends its connection only. Without
  /// `onError` it is not seen anywhere, but counted in ``ServingReport/failed``.
  ///
  /// A handler that throws after an async write has timed out or was cancelled, and that has not written as many bytes
  /// since as that one left out, has its connection reset: half an answer must not look like a whole one. One that goes
  /// on after ``TCPSocket/bytesOfFailedWrite``, or catches the error and returns, ends in order.
  ///
  /// While a shutdown is only announced, the server goes on as before. When it begins, connections that are between two
  /// messages end: those whose handler waits in ``TCPSocket/waitForMessage(timeout:)``, and, of handlers that never
  /// call that, connections that are read from where nothing has come since the handler's last answer and all has been
  /// silent for a quarter of a second. A client that has connected and not sent a byte has a second for its first one.
  /// To their handlers that is the end of input. All others have until the deadline.
  ///
  /// With ``GracefulShutdown/idleTime`` connections that wait for their next message when the shutdown begins may go on
  /// waiting that long; each ends when its handler has answered once more.
  ///
  /// A connection that has ended is closed when its client has ended it, too, and at the latest a second after the client
  /// has got everything: what the client sends until then is thrown away, and resets nothing.
  ///
  /// - Parameters:
  ///   - maxConnections: how many handlers may run at once; at the limit accepting waits, and clients wait in
  ///     the kernel's queue. Nil sets no limit; less than 1 counts as 1.
  ///   - shutdown: ends the server in order, from any thread. The handlers find it in
  ///     ``GracefulShutdown/current``.
  ///   - onError: is called, on the loop, with each error that ends a connection, and its socket: what `handler` throws,
  ///     except for being cancelled, and, where that is another error, why bytes that were written could not be
  ///     delivered.
  ///   - handler: serves one connection.
  /// - Returns: when the server was closed, the shutdown was done, or the task was cancelled.
  /// - Throws: when the listening socket broke; the handlers at work have then ended. A server that does not
  ///   listen throws ``SocketError/operation``.
  ///
  /// ## Cancellation
  ///
  /// Stops listening, closes what is pending, and cancels the handlers; their sockets are aborted.
  ///
  /// ## Isolation
  ///
  /// The accepting task and the handlers run on the server's event base, whichever executor the caller has.
  @discardableResult
  public final func serve(
    maxConnections: Int? = nil,
    shutdown: GracefulShutdown? = nil,
    onError: (@Sendable (any Error, TCPSocket) -> Void)? = nil,
    handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) async throws(SocketError) -> ServingReport {
    try await GracefulShutdown.with(shutdown) {
      await serve(upTo: maxConnections, endedBy: shutdown, onError: onError, handler: handler)
    }.get()
  }

  /// - Parameter sharedLimit: of the handlers on this loop and others.
  final func serve(
    upTo limit: Int?,
    _ sharedLimit: SharedLimit? = nil,
    endedBy end: GracefulShutdown?,
    onError: (@Sendable (any Error, TCPSocket) -> Void)?,
    handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) async -> Result<ServingReport, SocketError> {
    guard let eventBase else {
      return .failure(failWithoutLoop("serve()"))
    }
    let serving = Serving(server: self, limit: limit ?? .max, sharedLimit, onError: onError, handler: handler)
    // Only touched on the loop, where this task and the handlers run.
    nonisolated(unsafe) let shared = serving
    // By the event base's own executor, also from elsewhere: what a handler calls compares it with that, and would
    // otherwise go to the loop it is on, and back, by two jobs.
    await eventBase.engine.run(preferring: eventBase.loopTaskExecutor) {
      // On the loop: a shutdown that has begun already comes after the connections that are there.
      let registration = end?.observe {
        eventBase.engine.post(.closure { if let end { unsafe shared.follow(end) } })
      }
      await unsafe shared.run()
      if let registration { end?.forget(registration) }
    }
    return serving.error.map { .failure($0) } ?? .success(serving.report)
  }
}

/// One call of `serve`: the accepting task, its handlers, and how they end. Lives on the loop's thread.
private final class Serving: ServedEndReceiver, CancellableWait {
  private typealias ServeNext = @Sendable @isolated(any) () async throws -> Void

  private let server: TCPServer
  private let limit: Int
  private let sharedLimit: SharedLimit?
  private let onError: (@Sendable (any Error, TCPSocket) -> Void)?
  private let handler: @Sendable (TCPSocket) async throws -> Void
  private var live = 0
  /// On its way into the task that serves it, which starts at once.
  private var starting: TCPSocket?
  private var slot = WaiterSlot()
  /// Where the accepting task waits for a connection.
  private var acceptWaiter: WaiterQueue.Waiter?
  private var deadline: LoopTimer?
  /// Looks for connections that are between two messages, while the server ends.
  private var sweep: LoopTimer?
  private var isShuttingDown = false
  /// No connection is accepted any more.
  private var isEnding = false
  private var isPastDeadline = false
  private var isOver = false
  private var acceptedWhileAnnounced = AcceptedWhileAnnounced()
  private(set) var report = ServingReport()
  private(set) var error: SocketError?

  init(
    server: TCPServer,
    limit: Int,
    _ sharedLimit: SharedLimit?,
    onError: (@Sendable (any Error, TCPSocket) -> Void)?,
    handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) {
    self.onError = onError
    self.server = server
    self.limit = max(limit, 1)
    self.sharedLimit = sharedLimit
    self.handler = handler
  }

  func run() async {
    // One of a group may have ended by now; the group has looked whether it listened.
    if server.isMember { server.memberBegins() }
    guard server.isMember || server.isListening || server.hasPendingConnections else {
      error = server.fail(.operation, "serve() called on a server that does not listen")
      return
    }
    server.serverCore.noteAwaited()
    // One closure for all connections: one for each would be an allocation for each, which is also why it and the group
    // are of those that throw, though nothing does: the runtime takes such a closure as it is. The children run on this
    // very thread.
    nonisolated(unsafe) let serving = self
    let serveNext: ServeNext = { unsafe await serving.serveStarting() }
    try? await withThrowingDiscardingTaskGroup { group in
      // One handler for all waits of the accepting task: one for each would be a third of what a wait costs.
      await withTaskCancellationHandler {
        await acceptAll(into: &group, serveNext)
      } onCancel: {
        unsafe serving.server.eventBase?.engine.post(.cancel(serving, wait: 0))
      }
      hurryClosing()
      if Task.isCancelled {
        server.closeHere()
      }
      while live > 0 && !Task.isCancelled {
        // From here, because only the task that owns the group may cancel it.
        if isPastDeadline {
          group.cancelAll()
          break
        }
        await wait()
      }
      if live > 0, let engine = server.eventBase?.engine {
        // Marked before they look: the thread that cancels this task may not have reached them yet.
        group.cancelAll()
        TCPSocket.wakeServingTasks(on: engine)
        TCPSocket.endClosing(leftBy: self, on: engine)
      }
    }
    if isShuttingDown {
      // Connections that there was no time for: no task will serve them.
      server.closeHere()
    }
    deadline = nil
    sweep = nil
    isOver = true
    // Of a server that has ended during the delay.
    acceptedWhileAnnounced.end(accepted: server.statistics.accepted)
    report.acceptedWhileAnnounced = acceptedWhileAnnounced.count
  }

  /// A server that ends does not wait long for peers that have everything but do not end their side.
  private func hurryClosing() {
    guard !isEnding else { return }
    isEnding = true
    TCPSocket.hurryClosing(of: server.context)
  }

  private func acceptAll(
    into group: inout ThrowingDiscardingTaskGroup<any Error>,
    _ serveNext: @escaping ServeNext
  ) async {
    var isInVain = false
    // After its deadline a shutdown has no time for those who still wait.
    while !isPastDeadline {
      if CurrentTask.isCancelled { return }
      if live >= limit || !acquirePlace() {
        await wait()
      } else if let socket = server.nextPendingConnection() {
        isInVain = false
        live += 1
        report.served += 1
        starting = socket
        group.addImmediateTask(operation: serveNext)
      } else {
        sharedLimit?.release()
        do {
          guard try server.engineForPending(isInVain) != nil else { return }
          let isThere = server.hasPendingConnections && !isInVain
          if !isThere { await waitForPending() }
          isInVain = isThere
        } catch {
          self.error = error as? SocketError
          return
        }
      }
    }
  }

  /// Suspends until a connection is pending, none will be, or the task was cancelled.
  private func waitForPending() async {
    let waiters = server.serverCore.acceptWaiters
    let waiter = waiters.add()
    acceptWaiter = waiter
    await waiter.suspendHere()
    acceptWaiter = nil
    waiters.remove(waiter)
  }

  private func acquirePlace() -> Bool {
    guard let sharedLimit, let engine = server.eventBase?.engine else { return true }
    // Looked at on the loop alone.
    nonisolated(unsafe) let serving = self
    return sharedLimit.acquire(orWake: {
      engine.post(.closure { unsafe serving.slot.wake(.ready)?.resume() })
    })
  }

  private func serveStarting() async {
    guard let socket = exchange(&starting, with: nil) else { return }
    socket.beginServing()
    let isReported: Bool
    do {
      try await handler(socket)
      isReported = false
    } catch {
      isReported = Task.isCancelled || reportFailure(error, of: socket)
    }
    socket.endServing()
    end(socket, isReported)
  }

  /// Reports what a handler has thrown.
  ///
  /// - Returns: whether that is what has broken the connection, with bytes that were not delivered.
  private func reportFailure(_ error: any Error, of socket: TCPSocket) -> Bool {
    let isOfSocket = socket.flags.contains(.undelivered) && error as? SocketError == socket.lastError
    report.failed += 1
    onError?(error, socket)
    if socket.hasLostBytes {
      socket.noteUndelivered()
      socket.abortHere()
    }
    return isOfSocket
  }

  /// Closes a connection whose handler has returned, and leaves it to the loop: no task waits for its peer.
  ///
  /// - Parameter isReported: the program has the reason why bytes could not be delivered.
  private func end(_ socket: TCPSocket, _ isReported: Bool) {
    if Task.isCancelled {
      socket.abortHere()
      report.addCancelled(socket)
      return count(socket)
    }
    let end = ServedEnd(isReported: isReported, isInShutdown: isShuttingDown)
    if isEnding { socket.hurry() }
    socket.disconnectFromHost()
    if socket.currentState == .unconnected {
      connectionEnded(socket, end)
    } else {
      socket.details.servedEnd = end
      socket.details.endReceiver = self
    }
  }

  override func connectionEnded(_ socket: TCPSocket, _ end: ServedEnd) {
    // The program's own abort() is no error.
    let isBroken =
      socket.flags.contains(.undelivered) && !socket.flags.isDisjoint(with: [.writeBroken, .broken])
    if isBroken, !end.isReported { onError?(socket.lastError, socket) }
    if end.isInShutdown { report.endedInTime += 1 }
    count(socket)
  }

  private func count(_ socket: TCPSocket) {
    if socket.flags.contains(.undelivered) {
      report.undelivered += 1
    }
    live -= 1
    sharedLimit?.release()
    slot.wake(.ready)?.resume()
  }

  // MARK: - Shutdown

  /// When the shutdown is announced, when it begins, and when its time becomes shorter.
  func follow(_ shutdown: GracefulShutdown) {
    // It may come when the server has long been listening for another call.
    guard !isOver, let engine = server.eventBase?.engine else { return }
    acceptedWhileAnnounced.follow(shutdown, accepted: server.statistics.accepted)
    if let deadline = shutdown.deadline { shutDown(until: deadline, idleTime: shutdown.idleTime, engine) }
  }

  private func shutDown(
    until deadline: ContinuousClock.Instant,
    idleTime: Duration,
    _ engine: EventEngine
  ) {
    self.deadline = LoopTimer(engine, after: deadline - .now) { [weak self] in
      self?.isPastDeadline = true
      // Their tasks would wait for headers.
      if let server = self?.server, server.hasPrefaces { server.closeHere() }
      self?.slot.wake(.timedOut)?.resume()
    }
    guard !isShuttingDown else {
      server.context.drain?.limit(to: deadline)
      return
    }
    isShuttingDown = true
    server.context.drain = SocketContext.Drain(idleTime: idleTime, until: deadline)
    TCPSocket.endIdle(of: server.context)
    server.finishHere()
    hurryClosing()
    sweepSoon(engine)
    slot.wake(.ready)?.resume()
  }

  private func sweepSoon(_ engine: EventEngine) {
    sweep = LoopTimer(engine, after: TCPSocket.silenceBetweenMessages) { [weak self] in
      guard let self, self.live > 0 else { return }
      TCPSocket.endIdle(of: self.server.context)
      self.sweepSoon(engine)
    }
  }

  /// Suspends until a handler has ended, the shutdown begins, its deadline comes or the task was cancelled.
  private func wait() async {
    guard let engine = server.eventBase?.engine else { return }
    await engine.suspend(on: self, wait: slot.begin()) { unsafe slot.park($0)?.resume() }
    _ = slot.end()
  }

  func cancelWait(_ wait: UInt32) {
    // The same task's: it waits in one of the two.
    acceptWaiter?.wake(.cancelled)
    slot.cancel(wait)?.resume()
  }
}
