// SPDX-License-Identifier: Apache-2.0

/// Tasks that wait for the same thing, in order.
final class WaiterQueue {
  /// One of them.
  final class Waiter: CancellableWait {
    private var slot = WaiterSlot()

    func begin() {
      _ = slot.begin()
    }

    fileprivate var wait: UInt32 {
      slot.wait
    }

    fileprivate func park(_ continuation: UnsafeContinuation<WaiterSlot.WakeReason, Never>) {
      unsafe slot.park(continuation)?.resume()
    }

    func wake(_ reason: WaiterSlot.WakeReason) {
      slot.wake(reason)?.resume()
    }

    func cancelWait(_ wait: UInt32) {
      slot.cancel(wait)?.resume()
    }
  }

  private var waiters: [Waiter] = []
  /// Separate, because each accepted connection reads it: without a waiter nothing else is touched.
  private(set) var isEmpty = true
  /// One is enough where one task waits again and again, which is nearly always.
  private var spare: Waiter?

  /// A place for a task that is to suspend in it at once. It counts as waiting from here on: see ``WaiterSlot``.
  func add() -> Waiter {
    let waiter = spare ?? Waiter()
    spare = nil
    waiter.begin()
    waiters.append(waiter)
    isEmpty = false
    return waiter
  }

  /// After its wait: a cancelled one is still in the line.
  func remove(_ waiter: Waiter) {
    waiters.removeAll { $0 === waiter }
    isEmpty = waiters.isEmpty
    spare = waiter
  }

  var first: Waiter? {
    waiters.first
  }

  func wakeFirst() {
    guard !isEmpty else { return }
    let first = waiters.removeFirst()
    isEmpty = waiters.isEmpty
    first.wake(.ready)
  }

  func wakeAll() {
    while !isEmpty {
      wakeFirst()
    }
  }
}

extension EventEngine {
  /// Suspends the calling task in its place in a line.
  @discardableResult
  func suspend(on waiter: WaiterQueue.Waiter) async -> WaiterSlot.WakeReason {
    await suspend(on: waiter, wait: waiter.wait) { unsafe waiter.park($0) }
  }
}
