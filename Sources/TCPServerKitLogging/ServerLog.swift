// SPDX-License-Identifier: Apache-2.0

#if Logging
  public import Logging
  public import TCPServerKit

  /// Writes what happens to a server to a swift-log `Logger`.
  ///
  /// ```swift
  /// try await server.withMonitors([ServerLog(logger, server: "echo")], shutdown: shutdown) {
  ///   try await server.serve(shutdown: shutdown, handler: echo)
  /// }
  /// ```
  ///
  /// | Line | Level |
  /// | --- | --- |
  /// | The server listens; its listening socket broke; it has ended | debug |
  /// | Accepting fails, and goes on again: once an episode | info |
  /// | A shutdown is announced, begins, and is done, with the report | info |
  /// | A client was rejected: at most ten a second, with the number of those that were left out | trace |
  ///
  /// Each line has the metadata `tcp.server.name`, `tcp.server.address`, a path where the server listens at one, and
  /// `tcp.server.port`.
  public struct ServerLog: ServerMonitor {
    private let logger: Logger
    private let name: String
    private let interval: Duration

    /// Makes a monitor of one server.
    ///
    /// - Parameters:
    ///   - logger: writes the lines. Rejected clients are reported where its level is `trace` when the server begins.
    ///   - name: the value of `tcp.server.name`.
    ///   - interval: how often the log looks whether accepting goes on again; less than 10 milliseconds counts as that.
    public init(_ logger: Logger, server name: String, interval: Duration = .seconds(1)) {
      self.logger = logger
      self.name = name
      self.interval = max(interval, .milliseconds(10))
    }

    /// Reports until its task is cancelled, and then what has become of the server.
    ///
    /// - Parameter server: what is reported of.
    ///
    /// ## Cancellation
    ///
    /// Ends it, when the last line was written.
    ///
    /// ## Isolation
    ///
    /// May be called from any task.
    public func monitor(_ server: MonitoredServer) async {
      var logger = logger
      logger[metadataKey: "tcp.server.name"] = "\(name)"
      logger[metadataKey: "tcp.server.address"] = "\(server.serverPath ?? "\(server.serverAddress)")"
      logger[metadataKey: "tcp.server.port"] = "\(server.serverPort)"
      logger.debug("Listening")
      let errors = AcceptErrorLog(logger)
      let rejections = RejectionLog(logger)
      let drain = DrainLog(logger, server)
      await server.observing(
        includingRejections: logger.logLevel <= .trace,
        { event in
          switch event {
          case .acceptFailed(let error, let isListening): errors.failed(error, isListening: isListening)
          case .rejected(let rejection): rejections.rejected(rejection)
          }
        },
        while: {
          errors.began(await server.statistics(), since: server.statisticsBefore)
          await withTaskGroup { group in
            group.addTask { await drain.follow() }
            while (try? await Task.sleep(for: interval)) != nil {
              if errors.isInEpisode { errors.look(await server.statistics()) }
            }
            group.cancelAll()
          }
        }
      )
      drain.end()
    }
  }
#endif
