// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// A value that a thread of its own works out, with blocking calls for example.
final class Background<Value: Sendable>: Sendable {
  private final class Box: Sendable {
    let value = Locked<Value?>(nil)
  }

  private let box: Box
  private let thread: OtherThread

  init(_ body: @escaping @Sendable () -> Value) {
    let box = Box()
    self.box = box
    thread = OtherThread {
      let value = body()
      box.value.withLock { $0 = value }
    }
  }

  /// Waits for the value.
  func join() -> Value {
    thread.join()
    guard let value = box.value.withLock({ $0 }) else {
      preconditionFailure("a thread ended without its value")
    }
    return value
  }
}
