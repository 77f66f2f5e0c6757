// SPDX-License-Identifier: Apache-2.0

/// Ends servers in order: from any thread, for any number of ``TCPServer/serve(maxConnections:shutdown:onError:handler:)``
/// calls that were given it.
///
/// Each of them stops accepting, serves the clients that the kernel has already completed, lets its handlers
/// end, and cancels those that have not by the deadline. Servers whose connections are taken in other ways end
/// by ``TCPServer/finish(on:)``.
public final class GracefulShutdown: Sendable {
  /// The shutdown that `serve` was given, in its handlers and their child tasks; nil when it was given none.
  ///
  /// A handler that answers one request after the other looks between two of them whether it has begun.
  public static var current: GracefulShutdown? {
    given
  }

  @TaskLocal private static var given: GracefulShutdown?

  private struct State {
    var deadline: ContinuousClock.Instant?
    var observers: [UInt64: @Sendable () -> Void] = [:]
    var lastID: UInt64 = 0
    /// How many signals have come.
    var signals = 0
  }

  private let state = Locked(State())

  /// Makes a shutdown that has not begun.
  public init() {}

  /// Begins the shutdown. A further call can only make its time shorter: with zero, it is over.
  ///
  /// - Parameter timeout: how long the handlers may take from now on.
  public func begin(timeout: Duration = .seconds(30)) {
    begin(until: ContinuousClock.now + timeout.limited)
  }

  func begin(until deadline: ContinuousClock.Instant) {
    let observers = state.withLock { state in
      if let earlier = state.deadline, earlier <= deadline { return [@Sendable () -> Void]() }
      state.deadline = deadline
      // In their order: `serve` learns of it before its handlers do.
      return state.observers.sorted { $0.key < $1.key }.map(\.value)
    }
    for observer in observers {
      observer()
    }
  }

  /// Begins the shutdown when the process receives one of these signals, `SIGINT` for Ctrl-C among them.
  ///
  /// ```swift
  /// shutdown.beginOnSignals(SIGINT, SIGTERM, timeout: .seconds(10))
  /// ```
  ///
  /// The first signal begins the shutdown. One that comes when it has begun, a second Ctrl-C for instance, ends its time:
  /// handlers still at work are cancelled. After that one the signals do what they did before.
  ///
  /// A third signal ends the process, as it does by default, also where the loop hangs and has heard none of them.
  ///
  /// Any number of shutdowns and event bases may ask for the same signal: all of them receive it. The servers may be on
  /// any loops. The library touches signals only here and in ``EventBase/stopOnSignals(_:)``. In a child of `fork()` they
  /// do what they do by default.
  ///
  /// - Parameters:
  ///   - signals: `SIGINT`, `SIGTERM` or others that a process can take.
  ///   - timeout: how long the handlers may take from the first signal on.
  ///   - eventBase: the loop that hears the signals while it runs, and keeps the shutdown alive; by default the thread's
  ///     own. The call itself may come from any thread.
  /// - Returns: false without an event base, when one of the signals cannot be taken, and when descriptors are short;
  ///   then all of them do what they did before.
  @discardableResult
  public func beginOnSignals(
    _ signals: CInt...,
    timeout: Duration = .seconds(30),
    eventBase: EventBase? = .current
  ) -> Bool {
    guard let engine = eventBase?.engine else { return false }
    let heard = Locked(0)
    return engine.watchSignals(signals) { [self] in
      let number = heard.withLock { heard in
        heard += 1
        return heard
      }
      return signalCame(number, timeout)
    }
  }

  /// Two loops may hear the same signal for one shutdown: it counts once.
  private func signalCame(_ number: Int, _ timeout: Duration) -> SignalWatch.Answer {
    let isKnown = state.withLock { state in
      defer { state.signals = max(state.signals, number) }
      return number <= state.signals
    }
    if !isKnown {
      begin(timeout: number == 1 && !hasBegun ? timeout : .zero)
    }
    return number == 1 ? .begun : .finished
  }

  /// Whether the shutdown has begun.
  public var hasBegun: Bool {
    deadline != nil
  }

  /// When its time is over; nil while it has not begun.
  var deadline: ContinuousClock.Instant? {
    state.withLock { $0.deadline }
  }

  /// Waits until the shutdown has begun; returns at once if it has.
  ///
  /// ## Cancellation
  ///
  /// Returns; ``hasBegun`` says whether the shutdown has begun.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func waitUntilBegun() async {
    let latch = Latch()
    let id = observe { latch.open() }
    await withTaskCancellationHandler {
      await latch.wait()
    } onCancel: {
      latch.open()
    }
    forget(id)
  }

  /// Waits until the time of the shutdown is over, which begins with it; returns at once if it is.
  ///
  /// For a program whose connections ``TCPServer/finish(on:)`` leaves to it.
  ///
  /// ## Cancellation
  ///
  /// Returns at once.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func waitUntilDeadline() async {
    let latch = Latch()
    let alarms = Locked<[Task<Void, Never>]>([])
    let id = observe { [self] in
      guard let deadline else { return }
      let alarm = Task.detached {
        if (try? await Task.sleep(until: deadline, clock: .continuous)) != nil { latch.open() }
      }
      alarms.withLock { $0.append(alarm) }
    }
    await withTaskCancellationHandler {
      await latch.wait()
    } onCancel: {
      latch.open()
    }
    forget(id)
    for alarm in alarms.withLock({ $0 }) {
      alarm.cancel()
    }
  }

  /// Runs `body` with `shutdown` as ``current``, if there is one.
  static func with<Success>(_ shutdown: GracefulShutdown?, _ body: () async -> Success) async -> Success {
    guard let shutdown else { return await body() }
    return await $given.withValue(shutdown, operation: body)
  }

  /// Calls `body` when the shutdown begins, at once if it has, and again whenever its time becomes shorter.
  func observe(_ body: @escaping @Sendable () -> Void) -> UInt64 {
    let (id, hasBegun) = state.withLock { state in
      state.lastID += 1
      state.observers[state.lastID] = body
      return (state.lastID, state.deadline != nil)
    }
    if hasBegun {
      body()
    }
    return id
  }

  func forget(_ id: UInt64) {
    // Released out of the lock, because that runs others' code.
    let observer = state.withLock { $0.observers.removeValue(forKey: id) }
    withExtendedLifetime(observer) {}
  }
}
