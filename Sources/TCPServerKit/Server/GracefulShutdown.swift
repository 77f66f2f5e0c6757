// SPDX-License-Identifier: Apache-2.0

/// Ends servers in order: from any thread, for any number of ``TCPServer/serve(maxConnections:shutdown:onError:handler:)``
/// calls that were given it.
///
/// Each of them stops accepting, serves the clients that the kernel has already completed, lets its handlers
/// end, and cancels those that have not by the deadline. Servers whose connections are taken in other ways end
/// by ``TCPServer/finish(on:)``.
///
/// Behind a load balancer a server has to accept for some seconds more, because new clients are sent to it until the
/// load balancer has seen that it ends. With a delay a shutdown is announced first, and begins when the delay is over:
///
/// | | accepting | ``isAnnounced`` | ``hasBegun`` |
/// | --- | --- | --- | --- |
/// | before | yes | false | false |
/// | during the delay | yes | true | false |
/// | after it | no | true | true |
public final class GracefulShutdown: Sendable {
  /// The shutdown that `serve` was given, in its handlers and their child tasks; nil when it was given none.
  ///
  /// A handler that answers one request after the other looks between two of them whether it has begun.
  public static var current: GracefulShutdown? {
    given
  }

  @TaskLocal private static var given: GracefulShutdown?

  private struct State {
    var isAnnounced = false
    /// From the announcement until the shutdown begins.
    var delay: Delay?
    var deadline: ContinuousClock.Instant?
    var observers: [UInt64: @Sendable () -> Void] = [:]
    var lastID: UInt64 = 0

    /// In their order: `serve` is notified before its handlers are.
    var orderedObservers: [@Sendable () -> Void] {
      observers.sorted { $0.key < $1.key }.map(\.value)
    }
  }

  private struct Delay {
    let timeout: Duration
    let alarm: Task<Void, Never>
  }

  private let state = Locked(State())
  let signals = Locked(SignalsHeard())

  /// How long a connection that is between two messages when the shutdown begins may wait for its next one; zero, as at
  /// first, ends it then.
  ///
  /// A client that sends a request while the server ends its connection gets no answer, and has to send it again on
  /// another one. A client that asks within this time gets its answer, and the end right behind it, when it has nothing on
  /// its way. Choose it longer than clients usually pause, and much shorter than the shutdown's timeout, which goes on
  /// meanwhile: a shutdown takes as long where clients do not ask.
  /// It is over 1.25 seconds before the shutdown's deadline at the latest, so that idle connections end in order.
  public let idleTime: Duration

  /// Makes a shutdown that has not begun.
  ///
  /// - Parameter idleTime: how long connections between two messages may wait for the next one. Less than zero counts as
  ///   zero.
  public init(idleTime: Duration = .zero) {
    self.idleTime = idleTime.limited
  }

  deinit {
    state.withLock { $0.delay }?.alarm.cancel()
  }

  /// Announces the shutdown, and begins it when the delay is over; at once without a delay.
  ///
  /// A further call during the delay skips the rest of it, whatever its own delay, and one after it can only make the
  /// time of the shutdown shorter: with a timeout of zero, it is over. Of two timeouts the shorter counts.
  ///
  /// - Parameters:
  ///   - delay: how long servers go on accepting. Less than zero counts as zero.
  ///   - timeout: how long the handlers may take from then on. Less than zero counts as zero.
  public func begin(delay: Duration = .zero, timeout: Duration = .seconds(30)) {
    let (delay, timeout) = (delay.limited, timeout.limited)
    guard delay > .zero, let observers = announce(delay, timeout) else {
      return begin(until: ContinuousClock.now + timeout)
    }
    for observer in observers {
      observer()
    }
  }

  /// - Returns: nil when it is announced already.
  private func announce(_ delay: Duration, _ timeout: Duration) -> [@Sendable () -> Void]? {
    state.withLock { state in
      guard !state.isAnnounced else { return nil }
      state.isAnnounced = true
      let alarm = Task.detached { [weak self] in
        if (try? await Task.sleep(for: delay, clock: .continuous)) != nil { self?.begin(timeout: timeout) }
      }
      state.delay = Delay(timeout: timeout, alarm: alarm)
      return state.orderedObservers
    }
  }

  func begin(until deadline: ContinuousClock.Instant) {
    let (observers, delay) = state.withLock { state in
      let delay = exchange(&state.delay, with: nil)
      let deadline = delay.map { min(deadline, .now + $0.timeout) } ?? deadline
      if let earlier = state.deadline, earlier <= deadline { return ([@Sendable () -> Void](), delay) }
      state.isAnnounced = true
      state.deadline = deadline
      return (state.orderedObservers, delay)
    }
    delay?.alarm.cancel()
    for observer in observers {
      observer()
    }
  }

  /// Whether the shutdown was announced: it has begun, or begins when its delay is over.
  ///
  /// A readiness probe is answered with no from then on, and a handler that answers HTTP requests sends
  /// `Connection: close`.
  public var isAnnounced: Bool {
    state.withLock { $0.isAnnounced }
  }

  /// Whether the shutdown has begun, which is after its delay.
  public var hasBegun: Bool {
    deadline != nil
  }

  /// When its time is over; nil while it has not begun.
  var deadline: ContinuousClock.Instant? {
    state.withLock { $0.deadline }
  }

  /// Waits until the shutdown is announced; returns at once if it is. Without a delay that is when it begins.
  ///
  /// For a protocol in which a server can ask its clients to go elsewhere.
  ///
  /// ## Cancellation
  ///
  /// Returns; ``isAnnounced`` says whether the shutdown is announced.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func waitUntilAnnounced() async {
    await wait { _ in true }
  }

  /// Waits until the shutdown has begun, which is after its delay; returns at once if it has.
  ///
  /// ## Cancellation
  ///
  /// Returns; ``hasBegun`` says whether the shutdown has begun.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func waitUntilBegun() async {
    await wait { $0.hasBegun }
  }

  private func wait(for condition: @escaping @Sendable (GracefulShutdown) -> Bool) async {
    let latch = Latch()
    let id = observe { [self] in
      if condition(self) { latch.open() }
    }
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

  /// Calls `body` when the shutdown is announced, when it begins and whenever its time becomes shorter; once for what
  /// comes at the same time, and at once for what has been.
  func observe(_ body: @escaping @Sendable () -> Void) -> UInt64 {
    let (id, isAnnounced) = state.withLock { state in
      state.lastID += 1
      state.observers[state.lastID] = body
      return (state.lastID, state.isAnnounced)
    }
    if isAnnounced {
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
