// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// A timer for programs of handlers, as `QTimer` is: ``timeout`` is emitted once, or again and again.
///
/// ```swift
/// let timer = EventTimer(interval: .seconds(30))
/// timer.timeout.connect { print("Half a minute has passed.") }
/// timer.start()
/// ```
///
/// In a task, ``EventBase/sleep(for:)`` is simpler; for what is to happen once and is never taken back,
/// ``EventBase/schedule(after:_:)``.
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
/// A timer belongs to the thread of its event base. ``start()`` and ``stop()`` may be called from any thread; what answers
/// stops the program on another one.
///
/// `@unchecked Sendable` because of this invariant: what changes is touched on that thread alone.
@safe public final class EventTimer: @unchecked Sendable {
  /// Emitted each time the interval has passed.
  public let timeout: Signal<Void>

  /// How long from ``start()`` to ``timeout``, and from there to the next; zero and less is each turn of the loop.
  ///
  /// Setting it restarts a timer that is active.
  public var interval: Duration {
    get {
      confinement.requireLoopThread("EventTimer.interval")
      return currentInterval
    }
    set {
      confinement.requireLoopThread("EventTimer.interval")
      currentInterval = newValue
      if isStarted { _ = startHere() }
    }
  }

  /// Whether the timer stops before its first ``timeout``; false at first.
  public var isSingleShot: Bool {
    get {
      confinement.requireLoopThread("EventTimer.isSingleShot")
      return stopsItself
    }
    set {
      confinement.requireLoopThread("EventTimer.isSingleShot")
      stopsItself = newValue
    }
  }

  private var currentInterval: Duration
  private var stopsItself: Bool
  private let confinement: ThreadConfinement
  private let engine: EventEngine?
  private let source: TimerSource?
  private var isStarted = false

  /// Makes a timer that is not active.
  ///
  /// - Parameters:
  ///   - interval: from zero, which is each turn of the loop, to 31 years; what is outside counts as these.
  ///   - isSingleShot: whether it stops by itself; a repeating one goes on.
  ///   - eventBase: where it lives, by default the thread's own. Without one it cannot be started.
  public init(interval: Duration, isSingleShot: Bool = false, eventBase: EventBase? = .current) {
    currentInterval = interval
    stopsItself = isSingleShot
    engine = eventBase?.engine
    confinement = engine ?? ThreadConfinement(hasLoop: false)
    timeout = Signal(on: confinement)
    source = engine.map { TimerSource($0) }
    source?.timer = self
  }

  deinit {
    guard let source, let engine else { return }
    // libevent's calls are for the loop's thread. Due meanwhile, the source finds no timer.
    if engine.exclusively({ source.free() }) == nil { engine.releaseOnLoopThread(source) }
  }

  /// Whether it was started and has not stopped since.
  public var isActive: Bool {
    confinement.requireLoopThread("EventTimer.isActive")
    return isStarted && engine?.isAbandoned == false
  }

  /// Starts the timer; one that is active begins again. From any thread: another one than the event base's only asks for
  /// it, in the order of the calls.
  ///
  /// - Returns: false, and it is not active, when there is no event base any more, or no memory. True on another thread.
  @discardableResult
  public func start() -> Bool {
    guard let engine else { return false }
    if let isStarted = engine.exclusively({ startHere() }) { return isStarted }
    engine.post(.closure { [self] in _ = startHere() })
    return true
  }

  private func startHere() -> Bool {
    stopHere()
    guard engine?.isAbandoned == false else { return false }
    isStarted = source?.start(every: currentInterval) == true
    return isStarted
  }

  /// Stops the timer; does nothing when it is not active. From any thread, as ``start()``.
  public func stop() {
    guard let engine, engine.exclusively({ stopHere() }) == nil else { return }
    engine.post(.closure { [self] in stopHere() })
  }

  private func stopHere() {
    isStarted = false
    source?.stop()
  }

  fileprivate func fire() {
    if stopsItself { stopHere() }
    timeout.notify()
  }
}

/// The event of a timer. An object of its own, because it ends on the loop's thread, and the timer on any.
@safe private final class TimerSource {
  private unowned let engine: EventEngine
  weak var timer: EventTimer?
  private var event: OpaquePointer?

  init(_ engine: EventEngine) {
    self.engine = engine
  }

  deinit {
    free()
  }

  func free() {
    if let event = unsafe event { unsafe event_free(event) }
    unsafe event = nil
  }

  func start(every interval: Duration) -> Bool {
    if unsafe event == nil {
      let context = unsafe Unmanaged.passUnretained(self).toOpaque()
      unsafe event = event_new(engine.base, -1, Int16(CLIBEVENT_PERSIST), timerFired, context)
    }
    // libevent would not repeat a time of zero.
    guard let event = unsafe event else { return false }
    return unsafe engine.add(event, timeout: max(interval, .microseconds(1)))
  }

  func stop() {
    if let event = unsafe event { unsafe event_del(event) }
  }

  fileprivate func fire() {
    guard let timer else { return }
    // C code may go on running an event_base that was adopted.
    guard !engine.isAbandoned else { return stop() }
    engine.inCallback { timer.fire() }
  }
}

extension EventBase {
  /// Calls `handler` on this loop when `delay` has passed, once; from any thread.
  ///
  /// ```swift
  /// loop.schedule(after: .seconds(5)) { socket.disconnectFromHost() }
  /// ```
  ///
  /// It cannot be taken back: for that there is ``EventTimer``, with ``EventTimer/isSingleShot``. A handler that still
  /// waits when ``run()`` or ``run(_:)`` returns is released, uncalled, and so is one of an event base that is released. One
  /// that comes afterwards is called as ``execute(_:)`` does it then.
  ///
  /// - Parameters:
  ///   - delay: from zero, which is the next turn of the loop, to 31 years; what is outside counts as these.
  ///   - handler: is released after the call.
  public func schedule(after delay: Duration, _ handler: @escaping @Sendable () -> Void) {
    guard engine.exclusively({ engine.schedule(after: delay, handler) }) == nil else { return }
    guard !engine.hasEnded else { return engine.scheduleElsewhere(after: delay, handler) }
    let time = ContinuousClock.now + delay.limited
    engine.post(.closure { [unowned engine] in engine.schedule(after: time - .now, handler) })
  }
}

extension EventEngine {
  /// On the thread that may use the loop, which has ended where a handler was posted too late for its last turn.
  fileprivate func schedule(after delay: Duration, _ handler: @escaping @Sendable () -> Void) {
    hasEnded ? scheduleElsewhere(after: delay, handler) : after(delay, handler)
  }

  /// No thread turns the loop, and its timers with it.
  fileprivate func scheduleElsewhere(after delay: Duration, _ handler: @escaping @Sendable () -> Void) {
    let time = ContinuousClock.now + delay.limited
    Task.detached { [self] in
      try? await Task.sleep(until: time, clock: .continuous)
      post(.closure(handler))
    }
  }
}

private func timerFired(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  if let context = unsafe context {
    unsafe Unmanaged<TimerSource>.fromOpaque(context).takeUnretainedValue().fire()
  }
}
