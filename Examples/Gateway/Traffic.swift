// SPDX-License-Identifier: Apache-2.0

import Synchronization
import TCPServerKit

/// What went through the gateway, on all loops.
final class Traffic: Sendable {
  private struct State {
    var relayed = RelayReport()
    var unserved: UInt64 = 0
  }

  private let state = Mutex(State())

  func add(_ report: RelayReport) {
    state.withLock {
      $0.relayed.forwarded += report.forwarded
      $0.relayed.returned += report.returned
    }
  }

  /// A client for whom no backend answered.
  func addUnserved() {
    state.withLock { $0.unserved += 1 }
  }

  func summary(of reports: [ServingReport]) -> String {
    let clients = reports.reduce(0) { $0 + $1.served }
    let broken = reports.reduce(0) { $0 + $1.failed + $1.cancelled }
    let (relayed, unserved) = state.withLock { ($0.relayed, $0.unserved) }
    return
      "Stopped; clients: \(clients), cut off: \(broken - min(unserved, broken)), without a backend: \(unserved); "
      + "bytes: \(relayed.forwarded) up, \(relayed.returned) down."
  }
}
