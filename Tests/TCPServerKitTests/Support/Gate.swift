// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Keeps tasks waiting until it opens, for good. Waiting gives a loop no jobs but the one that goes on.
///
/// Not ended by cancellation: the owner of a gate opens it at the end of the test.
final class Gate: Sendable {
  private struct State {
    var isOpen = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  private let state = Locked(State())

  var isOpen: Bool {
    state.withLock { $0.isOpen }
  }

  func pass() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if !state.isOpen { state.waiting.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }

  func open() {
    let waiting = state.withLock { state in
      state.isOpen = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}
