/// A place where one task waits for the loop. Suspending and waking cost no allocation.
///
/// The number tells waits apart: a cancellation that arrives after its wait has ended finds another number.
///
/// A wait may be over before its task is suspended: where an actor of the loop waits, the runtime goes through
/// the loop once more in between. And a task that was woken goes on later: until then the place stays taken.
@safe struct Parking {
  enum Wakening {
    case ready
    case cancelled
    case timedOut
  }

  private enum Phase {
    case free
    case begun
    case suspended
    case woken
  }

  private var continuation: UnsafeContinuation<Wakening, Never>?
  private(set) var wait: UInt32 = 0
  private var phase = Phase.free
  private var wakening = Wakening.ready

  init() {}

  /// Whether a task waits here that nothing has woken yet.
  var isWaiting: Bool {
    phase == .begun || phase == .suspended
  }

  /// Whether another task must not wait here.
  var isTaken: Bool {
    phase != .free
  }

  /// Starts a new wait; its number is what a cancellation will bring.
  mutating func begin() -> UInt32 {
    // 31 bits, because a socket adds one of its own.
    wait = (wait &+ 1) & 0x7fff_ffff
    phase = .begun
    return wait
  }

  mutating func park(_ continuation: UnsafeContinuation<Wakening, Never>) {
    if phase == .begun {
      unsafe self.continuation = continuation
      phase = .suspended
    } else {
      unsafe continuation.resume(returning: wakening)
    }
  }

  /// The task goes on.
  mutating func end() {
    phase = .free
  }

  /// Ends the wait, if there is one.
  mutating func wake(_ wakening: Wakening) {
    guard isWaiting else { return }
    phase = .woken
    self.wakening = wakening
    if let continuation = unsafe continuation {
      unsafe self.continuation = nil
      unsafe continuation.resume(returning: wakening)
    }
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
  /// `park` puts the continuation where the loop finds it.
  ///
  /// `isolation` is the caller's: on an actor of the loop everything up to the suspension has to stay there.
  @discardableResult
  @safe func suspend(
    on target: some CancellableWait,
    wait: UInt32,
    isolation: isolated (any Actor)? = #isolation,
    park: (UnsafeContinuation<Parking.Wakening, Never>) -> Void
  ) async -> Parking.Wakening {
    // Only retained there: see Job.
    nonisolated(unsafe) let target: any CancellableWait = target
    return await withTaskCancellationHandler {
      // A closure is isolated to what it captures; without this it would run in the global pool.
      _ = isolation
      return unsafe await withUnsafeContinuation(isolation: isolation) { unsafe park($0) }
    } onCancel: {
      post(unsafe .cancel(target, wait: wait))
    }
  }
}
