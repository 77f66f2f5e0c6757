// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// How many handlers may run at once on several loops together.
///
/// A limit of connections alone would not do: those that were accepted before `serve` was called are there already.
final class SharedLimit: Sendable {
  private let most: Int
  private let count = Atomic(0)
  /// Of loops that have a connection and no place for it.
  private let waiting = Locked<[@Sendable () -> Void]>([])
  private let isAwaited = Atomic(false)

  init(_ most: Int) {
    self.most = most
  }

  /// Takes a place; false where there is none.
  ///
  /// - Parameter wake: is called, from any thread, when there may be one.
  func acquire(orWake wake: @autoclosure () -> @Sendable () -> Void) -> Bool {
    if acquire() { return true }
    let wake = wake()
    waiting.withLock { $0.append(wake) }
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    // A place that was released before that was seen by its releaser.
    return acquire()
  }

  private func acquire() -> Bool {
    var now = count.load(ordering: .sequentiallyConsistent)
    while now < most {
      let (exchanged, other) = count.compareExchange(
        expected: now,
        desired: now + 1,
        ordering: .sequentiallyConsistent
      )
      if exchanged { return true }
      now = other
    }
    return false
  }

  func release() {
    count.subtract(1, ordering: .sequentiallyConsistent)
    guard isAwaited.load(ordering: .sequentiallyConsistent) else { return }
    let woken = waiting.withLock { waiting in
      isAwaited.store(false, ordering: .sequentiallyConsistent)
      return exchange(&waiting, with: [])
    }
    for wake in woken { wake() }
  }
}
