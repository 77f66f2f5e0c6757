// SPDX-License-Identifier: Apache-2.0

/// The task that a loop runs for, if it does not run until it is stopped.
final class LoopBody: Sendable {
  private let cancellation = Locked<(@Sendable () -> Void)?>(nil)

  func begin(_ cancel: @escaping @Sendable () -> Void) {
    cancellation.withLock { $0 = cancel }
  }

  func end() {
    let cancel = cancellation.withLock { exchange(&$0, with: nil) }
    withExtendedLifetime(cancel) {}
  }

  /// From any thread.
  ///
  /// - Returns: whether there is such a task.
  func cancel() -> Bool {
    guard let cancel = cancellation.withLock({ $0 }) else { return false }
    cancel()
    return true
  }
}
