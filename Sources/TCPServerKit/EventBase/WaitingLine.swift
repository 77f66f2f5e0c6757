/// Tasks that wait for the same thing, in order.
struct WaitingLine {
  /// One of them.
  final class Waiter: CancellableWait {
    private var parking = Parking()

    fileprivate func begin() -> UInt32 {
      parking.begin()
    }

    fileprivate func park(_ continuation: UnsafeContinuation<Parking.Wakening, Never>) {
      unsafe parking.park(continuation)
    }

    func wake(_ wakening: Parking.Wakening) {
      parking.wake(wakening)
    }

    func cancelWait(_ wait: UInt32) {
      parking.cancel(wait)
    }
  }

  private var waiters: [Waiter] = []
  /// One is enough where one task waits again and again, which is nearly always.
  private var spare: Waiter?

  mutating func add() -> Waiter {
    let waiter = spare ?? Waiter()
    spare = nil
    waiters.append(waiter)
    return waiter
  }

  /// After its wait: a cancelled one is still in the line.
  mutating func remove(_ waiter: Waiter) {
    waiters.removeAll { $0 === waiter }
    spare = waiter
  }

  mutating func wakeFirst() {
    if !waiters.isEmpty {
      waiters.removeFirst().wake(.ready)
    }
  }

  mutating func wakeAll() {
    while !waiters.isEmpty {
      wakeFirst()
    }
  }
}

extension EventEngine {
  /// Suspends the calling task in its place in a line.
  @discardableResult
  func suspend(on waiter: WaitingLine.Waiter) async -> Parking.Wakening {
    await suspend(on: waiter, wait: waiter.begin()) { unsafe waiter.park($0) }
  }
}
