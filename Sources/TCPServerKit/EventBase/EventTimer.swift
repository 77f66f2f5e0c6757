internal import CLibevent

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// A timer for programs of handlers, as `QTimer` is: ``timeout`` is emitted once, or again and again.
///
/// ```swift
/// let timer = EventTimer(interval: .seconds(30))
/// timer.timeout.connect { print("Half a minute has passed.") }
/// timer.start()
/// ```
///
/// In a task, ``EventBase/sleep(for:)`` is simpler; for what is to happen once and is never taken back,
/// ``EventBase/after(_:_:)``.
///
/// ## Time
///
/// The clock is the loop's, which no change of the wall clock moves. It ticks every few milliseconds, so that a
/// timeout may come by so much too early or too late.
///
/// A repeating timer counts from when it was due, not from when its handlers ran: it does not drift. A loop that was
/// busy for longer than the interval emits ``timeout`` once, and counts from there; those in between are not made up for.
///
/// ## Lifetime
///
/// The loop does not keep a timer alive: one that is released has stopped. A handler may stop, restart or release
/// the timer that calls it. When the event base is released, its timers have stopped for good.
///
/// ## Thread
///
/// A timer belongs to the thread of its event base, and is not `Sendable`.
@safe public final class EventTimer {
  /// Emitted each time the interval has passed.
  public let timeout: Signal<Void>

  /// How long from ``start()`` to ``timeout``, and from there to the next; zero and less is each turn of the loop.
  ///
  /// Setting it restarts a timer that is active.
  public var interval: Duration {
    didSet {
      if isActive { start() }
    }
  }

  /// Whether the timer stops before its first ``timeout``; false at first.
  public var isSingleShot: Bool

  private let engine: EventEngine?
  private var event: OpaquePointer?
  private var isStarted = false

  /// Makes a timer that is not active.
  ///
  /// - Parameters:
  ///   - interval: from zero, which is each turn of the loop, to 31 years; what is outside counts as these.
  ///   - isSingleShot: whether it stops by itself; a repeating one goes on.
  ///   - eventBase: where it lives, by default the thread's own. Without one it cannot be started.
  public init(interval: Duration, isSingleShot: Bool = false, eventBase: EventBase? = .current) {
    self.interval = interval
    self.isSingleShot = isSingleShot
    engine = eventBase?.engine
    timeout = Signal(on: engine)
  }

  deinit {
    if let event = unsafe event { unsafe event_free(event) }
  }

  /// Whether it was started and has not stopped since.
  public var isActive: Bool {
    isStarted && engine?.isAbandoned == false
  }

  /// Starts the timer; one that is active begins anew.
  ///
  /// - Returns: false, and it is not active, when there is no event base any more, or no memory.
  @discardableResult
  public func start() -> Bool {
    stop()
    guard let engine, !engine.isAbandoned else { return false }
    if unsafe event == nil {
      let context = unsafe Unmanaged.passUnretained(self).toOpaque()
      unsafe event = event_new(engine.base, -1, Int16(CLIBEVENT_PERSIST), timerFired, context)
    }
    // libevent would not repeat a time of zero.
    let time = max(interval, .microseconds(1))
    guard let event = unsafe event, unsafe engine.add(event, timeout: time) else { return false }
    isStarted = true
    return true
  }

  /// Stops the timer; does nothing when it is not active.
  public func stop() {
    engine?.assertOnLoopThread()
    isStarted = false
    if let event = unsafe event { unsafe event_del(event) }
  }

  fileprivate func fire() {
    if isSingleShot { stop() }
    timeout.notify()
  }
}

extension EventBase {
  /// Calls `handler` on this loop when `delay` has passed, once; from the loop's thread.
  ///
  /// ```swift
  /// loop.after(.seconds(5)) { socket.disconnectFromHost() }
  /// ```
  ///
  /// It cannot be taken back: for that there is ``EventTimer``, with ``EventTimer/isSingleShot``. An event base that
  /// is released first drops the handler.
  ///
  /// - Parameters:
  ///   - delay: from zero, which is the next turn of the loop, to 31 years; what is outside counts as these.
  ///   - handler: is released after the call.
  public func after(_ delay: Duration, _ handler: @escaping () -> Void) {
    engine.assertOnLoopThread()
    engine.after(delay, handler)
  }
}

private func timerFired(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  if let context = unsafe context {
    unsafe Unmanaged<EventTimer>.fromOpaque(context).takeUnretainedValue().fire()
  }
}
