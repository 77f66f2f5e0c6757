// SPDX-License-Identifier: Apache-2.0

#if Logging
  internal import Logging
  internal import TCPServerKit

  /// The lines about the end of a server.
  struct DrainLog: Sendable {
    private let logger: Logger
    private let server: MonitoredServer

    init(_ logger: Logger, _ server: MonitoredServer) {
      self.logger = logger
      self.server = server
    }

    /// Waits for the shutdown, until the task is cancelled.
    func follow() async {
      guard let shutdown = server.shutdown else { return }
      await shutdown.waitUntilAnnounced()
      guard shutdown.isAnnounced else { return }
      if !shutdown.hasBegun {
        logger.info("A shutdown is announced: accepting goes on")
        await shutdown.waitUntilBegun()
      }
      guard shutdown.hasBegun, server.result == nil else { return }
      let live = await server.statistics().live
      logger.info("The shutdown begins", metadata: ["tcp.server.connections.active": "\(live)"])
    }

    func end() {
      switch server.result {
      case .success(let report) where server.shutdown?.hasBegun == true:
        logger.info("The shutdown is done", metadata: Self.metadata(of: report))
      case .success(let report):
        logger.debug("The server has ended", metadata: Self.metadata(of: report))
      case .failure(let error):
        // Whoever runs the server gets the error thrown, and reports it.
        logger.debug("The server has ended: \(error)")
      case nil:
        logger.debug("The server is not observed any more")
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
