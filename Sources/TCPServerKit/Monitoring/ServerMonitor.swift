// SPDX-License-Identifier: Apache-2.0

/// What runs beside a server and reports how it does: to a log, or as metrics.
///
/// The products `TCPServerKitLogging` and `TCPServerKitMetrics` have one each: <doc:OperatingAServer>.
/// ``TCPServerGroup/withMonitors(_:shutdown:_:)`` and ``TCPServer/withMonitors(_:shutdown:_:)`` run them.
public protocol ServerMonitor: Sendable {
  /// Runs from the time when the server listens until its own task is cancelled, which is when the server has ended. It
  /// reports the last values then, and returns soon: the call that runs the server waits for it.
  ///
  /// It runs in Swift's pool, and is not held up by a loop that is busy.
  ///
  /// - Parameter server: what it reports of.
  func monitor(_ server: MonitoredServer) async
}

extension TCPServerGroup {
  /// Runs `body`, which serves connections, with monitors beside it.
  ///
  /// ```swift
  /// try await server.withMonitors(monitors, shutdown: shutdown) {
  ///   try await server.serve(shutdown: shutdown) { socket in
  ///     while let line = try await socket.readLine() { try await socket.write(line) }
  ///   }
  /// }
  /// ```
  ///
  /// - Parameters:
  ///   - monitors: run until `body` has ended.
  ///   - shutdown: what `body` gives to ``serve(maxConnections:shutdown:onError:handler:)``, for what monitors report of
  ///     it.
  ///   - body: is called once, when the server listens.
  /// - Returns: what `body` does, when the monitors have ended.
  /// - Throws: what `body` throws; ``SocketError/socketResource`` when descriptors or memory are short;
  ///   ``SocketError/operation`` while the group begins to listen.
  ///
  /// ## Cancellation
  ///
  /// Cancels `body`. The monitors end after it.
  ///
  /// ## Isolation
  ///
  /// May be called from any task; `body` runs where the caller does.
  @discardableResult
  public func withMonitors(
    _ monitors: [any ServerMonitor],
    shutdown: GracefulShutdown? = nil,
    _ body: () async throws -> ServingReport
  ) async throws -> ServingReport {
    try await MonitoredServer(self, prepare(), shutdown).run(monitors, body)
  }
}

extension TCPServer {
  /// Runs `body`, which serves connections, with monitors beside it, as
  /// ``TCPServerGroup/withMonitors(_:shutdown:_:)`` does.
  ///
  /// - Parameters:
  ///   - monitors: run until `body` has ended.
  ///   - shutdown: what `body` gives to ``serve(maxConnections:shutdown:onError:handler:)``.
  ///   - body: is called once, when the server listens.
  /// - Returns: what `body` does, when the monitors have ended.
  /// - Throws: what `body` throws; ``SocketError/operation`` where the server has no event base.
  ///
  /// ## Cancellation
  ///
  /// Cancels `body`. The monitors end after it.
  ///
  /// ## Isolation
  ///
  /// May be called from any task; `body` runs where the caller does.
  @discardableResult
  public final func withMonitors(
    _ monitors: [any ServerMonitor],
    shutdown: GracefulShutdown? = nil,
    _ body: () async throws -> ServingReport
  ) async throws -> ServingReport {
    guard let monitored = MonitoredServer(self, shutdown) else { throw SocketError.operation }
    return try await monitored.run(monitors, body)
  }
}
