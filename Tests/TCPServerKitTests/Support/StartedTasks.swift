// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The tasks that a test has started and that have not ended. Cancelling the test alone would leave it waiting for
/// the value of one that nothing ends.
final class StartedTasks: Sendable {
  @TaskLocal static var current: StartedTasks?

  private struct State {
    var lastID = 0
    var live: Set<Int> = []
    var cancellations: [Int: @Sendable () -> Void] = [:]
  }

  private let state = Locked(State())

  func begin() -> Int {
    state.withLock { state in
      state.lastID += 1
      state.live.insert(state.lastID)
      return state.lastID
    }
  }

  /// Does nothing when the task has ended at once.
  func add(_ id: Int?, cancel: @escaping @Sendable () -> Void) {
    state.withLock { state in
      if let id, state.live.contains(id) { state.cancellations[id] = cancel }
    }
  }

  func end(_ id: Int?) {
    // Released outside the lock, as it may be the last reference to the task.
    let cancel = state.withLock { state in
      id.flatMap { id in
        state.live.remove(id)
        return state.cancellations.removeValue(forKey: id)
      }
    }
    withExtendedLifetime(cancel) {}
  }

  func cancelAll() {
    let cancellations = state.withLock { Array($0.cancellations.values) }
    for cancel in cancellations { cancel() }
  }
}
