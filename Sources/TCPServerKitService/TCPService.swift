// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
  public import ServiceLifecycle
  public import TCPServerKit

  /// A server as a service of swift-service-lifecycle.
  ///
  /// ```swift
  /// let echo = TCPService(TCPServiceConfiguration(port: 7, maxConnections: 1000)) { socket in
  ///   while let line = try await socket.readLine() { try await socket.write(line) }
  /// }
  /// try await ServiceGroup(services: [echo], gracefulShutdownSignals: [.sigterm], logger: logger).run()
  /// ```
  ///
  /// A graceful shutdown of its group ends it in order: it goes on accepting for
  /// ``TCPServiceConfiguration/shutdownDelay``, serves those who have connected by then, and returns when the last handler
  /// has ended, or was cancelled after ``TCPServiceConfiguration/shutdownTimeout``. The group makes sure of the order among
  /// services, and hears the signals: the service itself touches none.
  ///
  /// Every member may be used on any thread.
  public struct TCPService: Service, CustomStringConvertible {
    private let configuration: TCPServiceConfiguration
    private let handler: @Sendable (TCPSocket) async throws -> Void
    private let state = ServiceState()

    /// Makes a service that does not run yet.
    ///
    /// - Parameters:
    ///   - configuration: where and how it serves.
    ///   - handler: serves one connection, as a task on its loop, and finds the task-local values of the task that runs
    ///     the service.
    public init(
      _ configuration: TCPServiceConfiguration,
      handler: @escaping @Sendable (TCPSocket) async throws -> Void
    ) {
      self.configuration = configuration
      self.handler = handler
    }

    /// Listens and serves until the group shuts down gracefully, or the listening socket breaks.
    ///
    /// - Throws: why it could not listen, or why the listening socket broke; ``SocketError/operation`` while it runs already.
    ///
    /// ## Cancellation
    ///
    /// Stops listening, and cancels the handlers, whose sockets are aborted.
    ///
    /// ## Isolation
    ///
    /// May be called from any task. The handlers run on the service's loops.
    public func run() async throws {
      let shutdown = GracefulShutdown(idleTime: configuration.shutdownIdleTime)
      guard state.begin(shutdown) else { throw SocketError.operation }
      do {
        try await withGracefulShutdownHandler {
          try await EventBaseGroup.withThreads(loops: configuration.loops) { [self] loops in
            try await serve(on: loops, shutdown)
          }
        } onGracefulShutdown: { [configuration] in
          shutdown.begin(delay: configuration.shutdownDelay, timeout: configuration.shutdownTimeout)
        }
        state.end(SocketError.operation)
      } catch {
        state.end(error)
        throw error
      }
    }

    private func serve(on loops: EventBaseGroup, _ shutdown: GracefulShutdown) async throws {
      let server = TCPServerGroup(
        on: loops,
        distribution: configuration.distribution,
        configure: configuration.configure
      )
      if configuration.inheritedSockets.isEmpty {
        try await server.listen(address: configuration.address, port: configuration.port)
      } else {
        try await server.setSocketDescriptors(configuration.inheritedSockets)
      }
      state.listens(server)
      try await server.withMonitors(configuration.monitors, shutdown: shutdown) {
        try await server.serve(
          maxConnections: configuration.maxConnections,
          shutdown: shutdown,
          onError: configuration.onError,
          handler: handler
        )
      }
    }

    /// Where a service listens.
    public struct ListeningPlace: Hashable, Sendable {
      /// The address.
      public var address: HostAddress
      /// The port, which the kernel has chosen where it was to.
      public var port: UInt16
    }

    /// Waits until the service listens; returns at once when it does.
    ///
    /// - Returns: where it listens.
    /// - Throws: why its last run has ended, where it ended before it listened or since; ``SocketError/operation`` for a run
    ///   that ended in order.
    ///
    /// ## Cancellation
    ///
    /// Throws `CancellationError`.
    ///
    /// ## Isolation
    ///
    /// May be called from any task, before the service runs, too.
    @discardableResult
    public func waitUntilListening() async throws -> ListeningPlace {
      try await state.waitUntilListening()
    }

    /// Where the service is to listen, as a log of its group has it: `TCPService(*, port 7)`.
    public var description: String {
      "TCPService(\(configuration.address), port \(configuration.port))"
    }

    /// Whether the service listens and no shutdown is announced: what a readiness probe asks.
    public var isReady: Bool {
      state.isReady
    }

    /// The server from the time when it listens until ``run()`` ends, and nil otherwise: for its counters, and for
    /// ``TCPServerGroup/snapshot(listing:patience:)`` and ``TCPServerGroup/diagnose()``. It is the service that ends it.
    public var server: TCPServerGroup? {
      state.server
    }
  }
#endif
