// SPDX-License-Identifier: Apache-2.0

@testable import TCPServerKit

/// A monitor that keeps the server it is given, until it is cancelled.
final class KeepingMonitor: ServerMonitor {
  let server = Locked<MonitoredServer?>(nil)
  let hasEnded = Flag()
  /// How the server had ended by then.
  let result = Locked<Result<ServingReport, any Error>?>(nil)

  func monitor(_ server: MonitoredServer) async {
    self.server.withLock { $0 = server }
    let (silence, continuation) = AsyncStream.makeStream(of: Never.self)
    for await _ in silence {}
    continuation.finish()
    result.withLock { $0 = server.result }
    hasEnded.set()
  }

  /// The server, once the monitor runs.
  func started() async throws -> MonitoredServer {
    while true {
      if let server = server.withLock({ $0 }) { return server }
      await turns(1)
      try Task.checkCancellation()
    }
  }
}

extension MonitoredServer {
  /// The statistics that a condition holds for: a loop that takes a second to answer is not in the first ones.
  func statistics(
    until isThere: (TCPServer.Statistics) -> Bool
  ) async throws -> TCPServer.Statistics {
    while true {
      let now = await statistics()
      if isThere(now) { return now }
      try Task.checkCancellation()
    }
  }
}

extension ConnectionDurations.Counts {
  var total: UInt64 {
    (delivered + undelivered).reduce(0, +)
  }
}
