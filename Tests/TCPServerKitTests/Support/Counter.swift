// SPDX-License-Identifier: Apache-2.0

import Synchronization
import TCPServerKit

/// A number that handlers and other threads may raise.
final class Counter: Sendable {
  private let count = Atomic(0)

  var value: Int {
    count.load(ordering: .sequentiallyConsistent)
  }

  func increment() {
    count.add(1, ordering: .sequentiallyConsistent)
  }
}

/// Something that has happened, or not yet.
final class Flag: Sendable {
  private let state = Atomic(false)

  var isSet: Bool {
    state.load(ordering: .sequentiallyConsistent)
  }

  func set(_ value: Bool = true) {
    state.store(value, ordering: .sequentiallyConsistent)
  }
}

/// A value that handlers and other threads may set.
final class Shared<Value: Sendable>: Sendable {
  private let state: Locked<Value>

  init(_ value: Value) {
    state = Locked(value)
  }

  var value: Value {
    get { state.withLock { $0 } }
    set { state.withLock { $0 = newValue } }
  }
}
