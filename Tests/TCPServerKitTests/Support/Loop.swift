// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// A loop for one test. Nothing in a test waits longer than `limit`; nothing sleeps.
struct Loop {
  static let limit: Duration = .seconds(60)
  /// For tests that need a thread of the pool, or the main one: all the others run there first. And for programs that
  /// have much to do.
  static let limitWithPool: Duration = .seconds(240)

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
