// SPDX-License-Identifier: Apache-2.0

#if Logging
  internal import Logging
  internal import TCPServerKit

  /// The lines about the end of a server, each once and in their order.
  final class DrainLog: Sendable {
    private let logger: Logger
    private let server: MonitoredServer
    /// Whether the line was written that it begins.
    private let hasBegun = Locked(false)

    init(_ logger: Logger, _ server: MonitoredServer) {
      self.logger = logger
      self.server = server
    }

    /// Waits for the shutdown, until the task is cancelled.
    func follow() async {
      guard let shutdown = server.shutdown else { return }
      await shutdown.waitUntilAnnounced()
      if shutdown.isAnnounced && !shutdown.hasBegun {
        logger.info("A shutdown is announced: accepting goes on")
        await shutdown.waitUntilBegun()
      }
      if shutdown.hasBegun { begins(live: await server.statistics().live) }
    }

    private func begins(live: UInt64) {
      let isFirst = hasBegun.withLock { hasBegun in
        defer { hasBegun = true }
        return !hasBegun
      }
      guard isFirst else { return }
      logger.info("The shutdown begins", metadata: ["tcp.server.connections.active": "\(live)"])
    }

    func end() {
      switch server.result {
      case .success(let report) where server.shutdown?.hasBegun == true:
        // The server may have ended before the shutdown was seen here.
        begins(live: 0)
        logger.info("The shutdown is done", metadata: Self.metadata(of: report))
      case .success(let report):
        logger.debug("The server has ended", metadata: Self.metadata(of: report))
      case .failure(let error):
        // It is thrown where the server is run.
        logger.debug("The server has ended: \(error)")
      case nil:
        logger.debug("The monitor was cancelled")
      }
    }

    private static func metadata(of report: ServingReport) -> Logger.Metadata {
      [
        "tcp.server.report.served": "\(report.served)",
        "tcp.server.report.failed": "\(report.failed)",
        "tcp.server.report.ended_in_time": "\(report.endedInTime)",
        "tcp.server.report.cancelled": "\(report.cancelled)",
        "tcp.server.report.accepted_while_announced": "\(report.acceptedWhileAnnounced)",
        "tcp.server.report.undelivered": "\(report.undelivered)",
      ]
    }
  }
#endif
