// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// A loop for one test. Nothing in a test waits longer than `limit`, which no test that works comes near; nothing sleeps.
struct Loop {
  /// Minutes, because a test may wait for a thread of the pool, where all the others run first.
  static let limit: Duration = .seconds(240)

  let base: EventBase

  init(base: EventBase) {
    self.base = base
  }

  init() throws {
    base = try EventBase()
  }

  /// Turns the loop until `condition` holds.
  ///
  /// - Returns: false when it did not within the limit.
  func run(until condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now + Self.limit
    while !condition() {
      guard ContinuousClock.now < deadline else { return false }
      base.runOnce(timeout: .milliseconds(100))
    }
    return true
  }

  /// Turns the loop for as long as anything is ready, to show that something does not happen.
  func settle(turns: Int = 20) {
    for _ in 0..<turns {
      base.runOnce(timeout: .milliseconds(1))
    }
  }
}
