// SPDX-License-Identifier: Apache-2.0

/// The event loop: libevent's `event_base`, on which servers and sockets live.
///
/// An event base belongs to the thread that runs it, and so does everything made with it. While no thread runs it, it
/// belongs to the first thread that uses it, until another one runs it. The members of this class may be called from any
/// thread, as far as they do not say otherwise.
///
/// When the last reference to an event base goes, connections that still wait for events on it are aborted, and its tasks
/// go on in the global pool.
public final class EventBase: Sendable {
  let engine: EventEngine
  /// What a floor above keeps for the loop; nil until it needs it.
  let resident = Locked<(any LoopResident)?>(nil)
  // One of each: the runtime sees by identity that a task is already where it wants to be.
  let loopTaskExecutor: LoopTaskExecutor
  let loopSerialExecutor: LoopSerialExecutor

  /// Makes a loop. It becomes this thread's ``current`` unless there is one already.
  ///
  /// - Throws: ``SocketError/socketResource`` when descriptors or memory are short.
  public init() throws(SocketError) {
    engine = try EventEngine()
    loopTaskExecutor = LoopTaskExecutor(engine: engine)
    loopSerialExecutor = LoopSerialExecutor(engine: engine)
    unsafe engine.taskExecutor = loopTaskExecutor
    engine.eventBase = self
    CurrentEventBase.setIfNone(self)
  }

  /// Wraps the `event_base` of a program that runs libevent itself.
  ///
  /// - Parameter base: a `struct event_base *`, borrowed: it must outlive this object and everything made
  ///   with it. The program need not call ``run()``: the thread on which libevent calls back is the loop's thread.
  /// - Throws: ``SocketError/socketResource`` when descriptors or memory are short.
  public init(adopting base: OpaquePointer) throws(SocketError) {
    engine = unsafe try EventEngine(adopting: base)
    loopTaskExecutor = LoopTaskExecutor(engine: engine)
    loopSerialExecutor = LoopSerialExecutor(engine: engine)
    unsafe engine.taskExecutor = loopTaskExecutor
    engine.eventBase = self
    CurrentEventBase.setIfNone(self)
  }

  deinit {
    unsafe engine.taskExecutor = nil
    engine.abortEverything { resident.withLock { $0 }?.loopEnded() }
  }

  /// The event base of the calling thread: the one that it runs, or else the first one made here; nil without any.
  ///
  /// Where no loop runs, a task sees only what it made itself on the same thread, and never another task's.
  public static var current: EventBase? {
    CurrentEventBase.get()
  }

  /// Runs the loop on this thread until ``stop()`` is called.
  ///
  /// Returns at once when ``stop()`` was called since the last run, or when this thread runs the loop already:
  /// libevent's loop cannot be nested. On the program's main thread it serves the main actor and `DispatchQueue.main`, too.
  ///
  /// The program stops, with a text, when another thread runs the loop; when the caller is a handler or task of another
  /// event base; or when the main actor calls it on a thread that is not the main one.
  ///
  /// When it returns, handlers of ``schedule(after:_:)`` that still wait are released, uncalled. Jobs, tasks and actors of the
  /// loop go on until a thread runs it again: one job after the other, those that this thread gives at once, others in the
  /// global pool, unless a thread uses the loop's objects.
  @available(*, noasync, message: "It blocks its thread: use EventBase.withThread(_:)")
  public func run() {
    CurrentEventBase.run(self, "EventBase.run()") { engine.run() }
  }

  /// Runs one turn of the loop: waits for events, handles those that are there, and returns.
  ///
  /// What stops the program in ``run()`` stops it here, too.
  ///
  /// - Parameter timeout: how long to wait at most; zero only looks, nil waits as long as it takes.
  @available(*, noasync, message: "It blocks its thread: use EventBase.withThread(_:)")
  public func runOnce(timeout: Duration? = nil) {
    CurrentEventBase.run(self, "EventBase.runOnce(timeout:)") { engine.runOnce(timeout: timeout) }
  }

  /// Runs the loop until the body has ended that it runs for.
  func run(untilBodyEnded hasEnded: () -> Bool, _ call: StaticString) {
    CurrentEventBase.run(self, call) {
      engine.run(isEnd: hasEnded) { [self] in resident.withLock { $0 }?.bodyEnded() }
    }
  }

  /// Turns the loop until `isDone` or until `deadline` has passed.
  func run(until deadline: ContinuousClock.Instant?, or isDone: () -> Bool) {
    CurrentEventBase.run(self, "TCPServer.runUntilConnectionsEnded(timeout:)") {
      engine.run(until: deadline, or: isDone)
    }
  }

  /// Makes ``run()`` return after the events at hand; from any thread.
  ///
  /// It ends no loop that runs for a body: ``run(_:)``, ``withThread(_:)`` and the loops of an ``EventBaseGroup`` end
  /// with that.
  public func stop() {
    engine.stop()
  }

  /// Stops the loop when the process receives one of these signals, `SIGINT` for Ctrl-C among them.
  ///
  /// That ends ``run()``, as ``stop()`` does. ``run(_:)``, ``withThread(_:)`` and their likes of an ``EventBaseGroup``
  /// end with their body, which is cancelled; ``GracefulShutdown/beginOnSignals(_:delay:timeout:eventBase:)`` lets
  /// connections end first. May be called from any thread. Any number of event bases and shutdowns may ask for the same
  /// signal: all of them receive it.
  ///
  /// A loop that hangs does not answer, nor does a body that goes on all the same. The third signal without an answer
  /// ends the process, as it does by default.
  ///
  /// The signals do what they did before once every event base that asked for them was released. The library touches
  /// signals only where this or ``GracefulShutdown/beginOnSignals(_:delay:timeout:eventBase:)`` is called. In a child of
  /// `fork()` they do what they do by default.
  ///
  /// - Returns: false when one of them cannot be taken, `SIGKILL` for instance, or when descriptors are short; then all
  ///   of them do what they did before.
  @discardableResult
  public func stopOnSignals(_ signals: CInt...) -> Bool {
    engine.watchSignals(signals) { [unowned engine] in
      if engine.body.cancel() { return .begun }
      engine.stop()
      return .done
    }
  }

  /// Runs `job` on the loop's thread, after the jobs given before; from any thread.
  ///
  /// After ``run()`` or ``run(_:)`` has returned, the thread that called that runs it at once, and a thread of the global
  /// pool where another one gives it. A job still waiting when the event base is released is dropped.
  public func execute(_ job: @escaping @Sendable () -> Void) {
    if !engine.runAtOnce(job) { engine.post(.closure(job)) }
  }

  /// Counters since the event base was made, from the thread that runs it.
  public struct Statistics: Hashable, Sendable {
    /// Jobs given to the loop, tasks' as well as ``EventBase/execute(_:)``'s.
    public var jobs: UInt64
    /// Those of them that came from another thread.
    public var jobsFromOtherThreads: UInt64
  }

  /// How many jobs the loop was given. May be read on any thread.
  public var statistics: Statistics {
    engine.statistics
  }
}

/// What lives on a loop, from a floor above.
protocol LoopResident: AnyObject, Sendable {
  /// The loop is about to end with its body: delivers what the connections here hold for their peers. On the loop.
  func deliver() async
  /// The loop has ended with its body: tasks that wait for events here go on, and see that.
  func bodyEnded()
  /// No thread can run the loop any more: ends what still waits for events.
  func loopEnded()
}
