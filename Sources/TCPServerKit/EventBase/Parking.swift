/// A place where one task waits for the loop. Suspending and waking cost no allocation.
///
/// The number distinguishes waits: a cancellation that arrives after its wait has ended finds another number.
///
/// A wait may be over before its task is suspended: where an actor of the loop waits, the runtime goes through
/// the loop once more in between. And a task that was woken goes on later: until then the place stays taken.
@safe struct Parking {
  enum Wakening {
    case ready
    /// The task may have been cancelled, and looks.
    case recheck
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

  /// - Returns: what to resume at once, where the wait is over already.
  mutating func park(_ continuation: UnsafeContinuation<Wakening, Never>) -> Sleeper? {
    guard phase == .begun else {
      return unsafe Sleeper(continuation: continuation, wakening: wakening)
    }
    unsafe self.continuation = continuation
    phase = .suspended
    return nil
  }

  /// The task goes on.
  ///
  /// - Returns: the reason of the wake-up; a check requested after the wake-up replaces it.
  mutating func end() -> Wakening {
    phase = .free
    return wakening
  }

  /// Ends the wait, if there is one.
  ///
  /// - Returns: what to resume, which is the caller's to do: code that runs while a place is being changed costs
  ///   each change a check at run time.
  mutating func wake(_ wakening: Wakening) -> Sleeper? {
    guard isWaiting else {
      if phase == .woken, wakening == .recheck { self.wakening = .recheck }
      return nil
    }
    phase = .woken
    self.wakening = wakening
    let sleeper = unsafe continuation.map { unsafe Sleeper(continuation: $0, wakening: wakening) }
    unsafe continuation = nil
    return sleeper
  }

  mutating func cancel(_ wait: UInt32) -> Sleeper? {
    wait == self.wait ? wake(.cancelled) : nil
  }

  /// A task that is to go on.
  @safe struct Sleeper {
    fileprivate let continuation: UnsafeContinuation<Wakening, Never>
    fileprivate let wakening: Wakening

    func resume() {
      unsafe continuation.resume(returning: wakening)
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
