/// A place where one task waits for the loop. Suspending and waking cost no allocation.
///
/// The number tells waits apart: a cancellation that arrives after its wait has ended finds another number.
@safe struct Parking {
  enum Wakening {
    case ready
    case cancelled
    case timedOut
  }

  private var continuation: UnsafeContinuation<Wakening, Never>?
  private(set) var wait: UInt32 = 0
  /// Whether the place is somebody's: from the start of a wait until its task has really gone on. A task that
  /// was woken runs later, and nobody may take its place before.
  private(set) var isTaken = false

  init() {}

  /// Whether a task is suspended here that nothing has woken yet.
  var isOccupied: Bool {
    unsafe continuation != nil
  }

  /// Starts a new wait; its number is what a cancellation will bring.
  mutating func begin() -> UInt32 {
    // 30 bits, because a socket adds two of its own.
    wait = (wait &+ 1) & 0x3fff_ffff
    isTaken = true
    return wait
  }

  /// The task goes on.
  mutating func end() {
    isTaken = false
  }

  mutating func park(_ continuation: UnsafeContinuation<Wakening, Never>) {
    unsafe self.continuation = continuation
  }

  /// Ends the wait, if there is one.
  mutating func wake(_ wakening: Wakening) {
    guard let continuation = unsafe continuation else { return }
    unsafe self.continuation = nil
    unsafe continuation.resume(returning: wakening)
  }

  mutating func cancel(_ wait: UInt32) {
    if wait == self.wait {
      wake(.cancelled)
    }
  }
}

extension EventEngine {
  /// Suspends the calling task in a place of `target` until the loop wakes it or the task is cancelled.
  ///
  /// `park` puts the continuation where the loop finds it; it is called on the loop's thread before this
  /// returns to the loop.
  @discardableResult
  @safe func suspend(
    on target: some CancellableWait,
    wait: UInt32,
    park: (UnsafeContinuation<Parking.Wakening, Never>) -> Void
  ) async -> Parking.Wakening {
    // Only retained there: see Job.
    nonisolated(unsafe) let target: any CancellableWait = target
    return await withTaskCancellationHandler {
      unsafe await withUnsafeContinuation { unsafe park($0) }
    } onCancel: {
      post(unsafe .cancel(target, wait: wait))
    }
  }
}
