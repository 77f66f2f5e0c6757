internal import CLibevent

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// The event loop: libevent's `event_base`, on which servers and sockets live.
///
/// An event base belongs to the thread that runs it, and so does everything made with it. Only
/// ``execute(_:)`` and ``stop()`` may be called from other threads.
///
/// When the last reference to an event base goes, connections that still wait for events on it are aborted.
public final class EventBase: Sendable {
  let engine: EventEngine
  /// Of sockets here that no server counts.
  let home: SocketHome
  // One of each: the runtime sees by identity that a task is already where it wants to be.
  let loopTaskExecutor: LoopTaskExecutor
  let loopSerialExecutor: LoopSerialExecutor

  /// Makes a loop. It becomes this thread's ``current`` unless there is one already.
  ///
  /// - Throws: ``SocketError/socketResource`` when descriptors or memory are short.
  public init() throws(SocketError) {
    engine = try EventEngine()
    home = SocketHome(engine: engine)
    loopTaskExecutor = LoopTaskExecutor(engine: engine)
    loopSerialExecutor = LoopSerialExecutor(engine: engine)
    CurrentEventBase.setIfNone(self)
  }

  /// Wraps the `event_base` of a program that runs libevent itself.
  ///
  /// - Parameter base: a `struct event_base *`, borrowed: it must outlive this object and everything made
  ///   with it. Whoever runs it need not call ``run()``.
  /// - Throws: ``SocketError/socketResource`` when descriptors or memory are short.
  public init(adopting base: OpaquePointer) throws(SocketError) {
    engine = unsafe try EventEngine(adopting: base)
    home = SocketHome(engine: engine)
    loopTaskExecutor = LoopTaskExecutor(engine: engine)
    loopSerialExecutor = LoopSerialExecutor(engine: engine)
    CurrentEventBase.setIfNone(self)
  }

  deinit {
    engine.abortEverything()
  }

  /// The event base of this thread: the one it runs, or else the one it made first; nil when there is none.
  public static var current: EventBase? {
    CurrentEventBase.get()
  }

  /// Runs the loop on this thread until ``stop()`` is called.
  ///
  /// Returns at once when ``stop()`` was called since the last run, or when the loop is running already:
  /// libevent's loop cannot be nested. The program stops when it is another thread that runs it.
  public func run() {
    let previous = CurrentEventBase.exchange(self)
    engine.run()
    CurrentEventBase.set(previous)
  }

  /// Runs one turn of the loop: waits for events, handles those that are there, and returns.
  ///
  /// - Parameter timeout: how long to wait at most; zero only looks, nil waits as long as it takes.
  public func runOnce(timeout: Duration? = nil) {
    let previous = CurrentEventBase.exchange(self)
    engine.runOnce(timeout: timeout)
    CurrentEventBase.set(previous)
  }

  /// Turns the loop until `isDone` or until `deadline` has passed.
  func run(until deadline: ContinuousClock.Instant?, or isDone: () -> Bool) {
    let previous = CurrentEventBase.exchange(self)
    engine.run(until: deadline, or: isDone)
    CurrentEventBase.set(previous)
  }

  /// Makes ``run()`` return after the events at hand; from any thread.
  public func stop() {
    engine.stop()
  }

  /// Stops the loop when the process receives one of these signals, `SIGINT` for Ctrl-C among them.
  ///
  /// That ends ``run()``. ``run(_:)`` ends with its body: there, ``GracefulShutdown/beginOnSignals(_:timeout:eventBase:)``
  /// tells the body. To be called on the loop's thread, or before the loop runs.
  ///
  /// The library touches signals only where this is called. Of several event bases in a process only one can
  /// take signals, as libevent says.
  ///
  /// - Returns: false when libevent could not install a handler; then the signals do what they did before.
  @discardableResult
  public func stopOnSignals(_ signals: CInt...) -> Bool {
    engine.watchSignals(signals) { [unowned engine] in
      engine.stop()
      return true
    }
  }

  /// Runs `job` on the loop's thread, after the jobs given before; from any thread.
  ///
  /// A job still waiting when the event base is released is dropped.
  public func execute(_ job: @escaping @Sendable () -> Void) {
    engine.post(.closure(job))
  }

  /// Counters since the event base was made, from the thread that runs it.
  public struct Statistics: Hashable, Sendable {
    /// Jobs given to the loop, tasks' as well as ``EventBase/execute(_:)``'s.
    public var jobs: UInt64
    /// Those of them that came from another thread.
    public var jobsFromOtherThreads: UInt64
  }

  /// How many jobs the loop was given; to be read on its thread.
  public var statistics: Statistics {
    engine.statistics
  }
}

/// The thread's event base, kept weakly: a thread-local must not keep a loop alive.
private enum CurrentEventBase {
  private final class Box {
    weak var base: EventBase?
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    unsafe pthread_key_create(&key) { box in
      if let box = unsafe box as UnsafeMutableRawPointer? {
        unsafe Unmanaged<Box>.fromOpaque(box).release()
      }
    }
    return key
  }()

  private static var existingBox: Box? {
    unsafe pthread_getspecific(key).map { unsafe Unmanaged<Box>.fromOpaque($0).takeUnretainedValue() }
  }

  private static var box: Box {
    if let box = existingBox {
      return box
    }
    let box = Box()
    unsafe pthread_setspecific(key, Unmanaged.passRetained(box).toOpaque())
    return box
  }

  static func get() -> EventBase? {
    existingBox?.base
  }

  static func set(_ base: EventBase?) {
    box.base = base
  }

  static func setIfNone(_ base: EventBase) {
    let box = box
    if box.base == nil {
      box.base = base
    }
  }

  static func exchange(_ base: EventBase) -> EventBase? {
    let box = box
    let previous = box.base
    box.base = base
    return previous
  }
}
