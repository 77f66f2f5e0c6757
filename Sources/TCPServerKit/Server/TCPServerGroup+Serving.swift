// SPDX-License-Identifier: Apache-2.0

extension TCPServerGroup {
  /// Serves every connection with `handler`, as a child task on the connection's loop, until the server ends.
  ///
  /// It does what ``TCPServer/serve(maxConnections:shutdown:onError:handler:)`` does, on all loops at once.
  ///
  /// - Parameters:
  ///   - maxConnections: how many connections there may be at once on all loops together; at the limit accepting waits, and
  ///     clients wait in the kernel's queue. Nil leaves the limit as it is, which at first is none; less than 1 counts
  ///     as 1.
  ///   - shutdown: ends the server in order, from any thread. The handlers find it in ``GracefulShutdown/current``.
  ///   - onError: is called, on the connection's loop, with each error that ends a connection, and its socket, as
  ///     there.
  ///   - handler: serves one connection.
  /// - Returns: the sum of all loops, when the server was closed, the shutdown was done, or the task was cancelled.
  /// - Throws: when the listening socket broke; the handlers at work have then ended. A server that does not listen
  ///   throws ``SocketError/operation``. ``errorString`` has the text.
  ///
  /// ## Cancellation
  ///
  /// Stops listening, closes what is pending, and cancels the handlers; their sockets are aborted.
  ///
  /// ## Isolation
  ///
  /// The accepting tasks and the handlers run on the server's loops, whichever executor the caller has.
  @discardableResult
  public func serve(
    maxConnections: Int? = nil,
    shutdown: GracefulShutdown? = nil,
    onError: (@Sendable (any Error, TCPSocket) -> Void)? = nil,
    handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) async throws(SocketError) -> ServingReport {
    guard let members else { throw failNotListening() }
    // On the accepting loop: the caller's thread may be busy.
    return try await eventBases.acceptingEventBase.engine.run {
      () async -> Result<ServingReport, SocketError> in
      await serve(members, maxConnections, shutdown, onError, handler)
    }.get()
  }

  private func serve(
    _ members: Members,
    _ maxConnections: Int?,
    _ shutdown: GracefulShutdown?,
    _ onError: (@Sendable (any Error, TCPSocket) -> Void)?,
    _ handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) async -> Result<ServingReport, SocketError> {
    guard isListening else { return .failure(failNotListening()) }
    let before = members.acceptor.maxConnections
    if let maxConnections { members.acceptor.maxConnections = max(maxConnections, 1) }
    // The loops end when the one that accepts has placed its last connection.
    let end = GracefulShutdown(idleTime: shutdown?.idleTime ?? .zero)
    let accepted = Locked(AcceptedWhileAnnounced())
    let registration = shutdown?.observe { [self] in
      guard let shutdown else { return }
      let soFar = statistics.accepted
      accepted.withLock { $0.follow(shutdown, accepted: soFar) }
      guard shutdown.hasBegun else { return }
      finish(until: shutdown.deadline) { if let deadline = shutdown.deadline { end.begin(until: deadline) } }
    }
    let limit = maxConnections.map { SharedLimit(max($0, 1)) }
    let result = await withTaskCancellationHandler {
      await GracefulShutdown.with(shutdown) {
        await serve(on: members.servers, upTo: limit, endedBy: end, onError, handler)
      }
    } onCancel: {
      close()
    }
    if let registration { shutdown?.forget(registration) }
    if Task.isCancelled { await discardRest(of: members) }
    if maxConnections != nil { members.acceptor.maxConnections = before }
    return result.map { report in
      var report = report
      report.acceptedWhileAnnounced = accepted.withLock { accepted in
        // Of a server that has ended during the delay.
        accepted.end(accepted: statistics.accepted)
        return accepted.count
      }
      return report
    }
  }

  private func failNotListening() -> SocketError {
    fail(.operation, "serve() called on a server that does not listen")
  }

  private func serve(
    on servers: [TCPServer],
    upTo limit: SharedLimit?,
    endedBy end: GracefulShutdown,
    _ onError: (@Sendable (any Error, TCPSocket) -> Void)?,
    _ handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) async -> Result<ServingReport, SocketError> {
    await withTaskGroup(of: Result<ServingReport, SocketError>.self) { group in
      for server in servers {
        group.addTask {
          let result = await server.serve(
            upTo: nil,
            limit,
            endedBy: end,
            onError: onError,
            handler: handler
          )
          if case .failure = result { _ = await self.fail(as: server) }
          return result
        }
      }
      var sum = ServingReport()
      var failure: SocketError?
      for await result in group {
        switch result {
        case .success(let report): sum.add(report)
        case .failure(let error): failure = error
        }
      }
      return failure.map { .failure($0) } ?? .success(sum)
    }
  }

  /// Connections that were on their way when the tasks of their loops ended.
  private func discardRest(of members: Members) async {
    await members.acceptor.onLoop { $0.closeHere() }
    for server in members.servers {
      await server.onLoop { $0.closeHere() }
    }
  }
}
