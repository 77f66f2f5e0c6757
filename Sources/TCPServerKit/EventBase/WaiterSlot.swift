// SPDX-License-Identifier: Apache-2.0

/// A place where one task waits for the loop. Suspending and waking cost no allocation.
///
/// The number distinguishes waits: a cancellation that arrives after its wait has ended finds another number.
///
/// A wait may be over before its task is suspended: where an actor of the loop waits, the runtime goes through
/// the loop once more in between. And a task that was woken goes on later: until then the place stays taken.
@safe struct WaiterSlot {
  enum WakeReason {
    case ready
    /// The task may have been cancelled, and looks.
    case recheck
    case cancelled
    case timedOut
    /// A shutdown takes the connection for being between two messages, unless something has come by now.
    case idle
  }

  private enum Phase {
    case free
    case begun
    case suspended
    case woken
  }

  private var continuation: UnsafeContinuation<WakeReason, Never>?
  private(set) var wait: UInt32 = 0
  private var phase = Phase.free
  private var reason = WakeReason.ready

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
  mutating func park(_ continuation: UnsafeContinuation<WakeReason, Never>) -> ResumableWaiter? {
    guard phase == .begun else {
      return unsafe ResumableWaiter(continuation: continuation, reason: reason)
    }
    unsafe self.continuation = continuation
    phase = .suspended
    return nil
  }

  /// The task goes on.
  ///
  /// - Returns: the reason of the wake-up; a check requested after the wake-up replaces it.
  mutating func end() -> WakeReason {
    phase = .free
    return reason
  }

  /// Ends the wait, if there is one.
  ///
  /// - Returns: what to resume, which is the caller's to do: code that runs while a place is being changed costs
  ///   each change a check at run time.
  mutating func wake(_ reason: WakeReason) -> ResumableWaiter? {
    guard isWaiting else {
      if phase == .woken, reason == .recheck { self.reason = .recheck }
      return nil
    }
    phase = .woken
    self.reason = reason
    let waiter = unsafe continuation.map { unsafe ResumableWaiter(continuation: $0, reason: reason) }
    unsafe continuation = nil
    return waiter
  }

  mutating func cancel(_ wait: UInt32) -> ResumableWaiter? {
    wait == self.wait ? wake(.cancelled) : nil
  }

  /// A task that is to go on.
  @safe struct ResumableWaiter {
    fileprivate let continuation: UnsafeContinuation<WakeReason, Never>
    fileprivate let reason: WakeReason

    func resume() {
      unsafe continuation.resume(returning: reason)
    }
  }
}

/// Suspends the calling task without a handler for its cancellation, which `park`'s place is woken for otherwise.
///
/// `withUnsafeContinuation` has the compiler switch to its caller's executor, on which it is, before each wait: 270
/// instructions. Its older form does not, and is in the compilers that were looked at.
@inline(__always) func suspendWithoutHandler(
  _ park: (UnsafeContinuation<WaiterSlot.WakeReason, Never>) -> Void
) async -> WaiterSlot.WakeReason {
  #if compiler(<6.4)
    unsafe await _unsafeInheritExecutor_withUnsafeContinuation { unsafe park($0) }
  #else
    unsafe await withUnsafeContinuation { unsafe park($0) }
  #endif
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
    park: (UnsafeContinuation<WaiterSlot.WakeReason, Never>) -> Void
  ) async -> WaiterSlot.WakeReason {
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
