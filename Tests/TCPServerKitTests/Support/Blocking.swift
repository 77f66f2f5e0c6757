// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The blocking calls, for tests in async functions, as the bodies of exit tests are: each test has a thread to block.
extension EventBase {
  func runBlocking() {
    run()
  }

  func runBlocking<Success: Sendable>(_ body: @escaping @Sendable () async throws -> Success) throws
    -> Success
  {
    try run(body)
  }

  func runOnceBlocking(timeout: Duration? = nil) {
    runOnce(timeout: timeout)
  }

  /// ``schedule(after:_:)`` for a handler that stays on the calling thread, which runs the loop.
  func afterOnThisThread(_ delay: Duration, _ handler: @escaping () -> Void) {
    nonisolated(unsafe) let handler = handler
    schedule(after: delay) { unsafe handler() }
  }
}

extension TCPServer {
  @discardableResult
  func waitForNewConnectionBlocking(msec: Int = 0) -> Bool {
    waitForNewConnection(msec: msec)
  }
}
