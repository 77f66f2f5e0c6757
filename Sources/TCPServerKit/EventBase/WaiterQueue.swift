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

    /// Suspends the calling task, which has a handler for its cancellation already, in its place.
    @inline(__always) func suspendHere() async {
      _ = unsafe await suspendWithoutHandler { unsafe park($0) }
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

  /// Nearly always the only one: each use of an array for it would be checked at run time.
  private(set) var first: Waiter?
  private var others: [Waiter] = []
  /// One is enough where one task waits again and again, which is nearly always.
  private var spare: Waiter?

  /// A place for a task that is to suspend in it at once. It counts as waiting from here on: see ``WaiterSlot``.
  func add() -> Waiter {
    let waiter = spare ?? Waiter()
    spare = nil
    waiter.begin()
    if first == nil {
      first = waiter
    } else {
      others.append(waiter)
    }
    return waiter
  }

  /// After its wait: a cancelled one is still in the line.
  func remove(_ waiter: Waiter) {
    if first === waiter {
      removeFirst()
    } else if !others.isEmpty {
      others.removeAll { $0 === waiter }
    }
    spare = waiter
  }

  var isEmpty: Bool {
    first == nil
  }

  /// For each accepted connection, most of which no task waits for.
  @inline(__always) func wakeFirst() {
    if first != nil { wakeNext() }
  }

  @inline(never) private func wakeNext() {
    guard let waiter = first else { return }
    removeFirst()
    waiter.wake(.ready)
  }

  private func removeFirst() {
    first = others.isEmpty ? nil : others.removeFirst()
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
