// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc
internal import Synchronization

/// What drives an event base: turns of libevent's loop, the inbox for other threads, jobs between turns.
///
/// `@unchecked Sendable` because of this invariant: `inbox`, `stopRequested` and `wakeDescriptor` are safe from any
/// thread; everything else is touched by the thread that ``ThreadConfinement`` allows alone.
@safe final class EventEngine: ThreadConfinement, @unchecked Sendable {
  let base: OpaquePointer
  let ownsBase: Bool
  private let wakeDescriptor: CInt
  private var wakeEvent: OpaquePointer?
  private var timer: OpaquePointer?
  /// The main queue, where the main thread runs the loop; see MainQueue.swift.
  var mainQueueWatch: DescriptorWatch?
  /// The thread for which that was decided last.
  private var preparedThread: UInt = 0
  private var signalWatches: [SignalWatch] = []
  /// Of handlers that are to be called once.
  private var delayed: [ObjectIdentifier: LoopTimer] = [:]
  let inbox = Locked(Inbox())
  /// Whose engine this is, until that is released.
  weak var eventBase: EventBase?
  /// Tasks in `EventBase.sleep(for:)`.
  var sleepers: [ObjectIdentifier: WaiterQueue.Waiter] = [:]
  private let stopRequested = Atomic(false)
  let jobs = JobQueue()
  /// The task that the loop runs for.
  let body = LoopBody()
  let localCount = Atomic<UInt64>(0)
  /// Whether ``run()`` or one of its siblings turns the loop, and runs the jobs.
  private(set) var isRunning = false
  private(set) var isAbandoned = false
  /// The loop ran for a body, and has ended with it: nothing on it is to be waited for, unless it runs again.
  private(set) var hasEndedWithBody = false
  /// Turns in a row in which the kernel would not wait.
  private var backOffs = 0

  /// At most this many jobs run between two looks at the sockets.
  private static let longestBatch = 4096

  /// The event base's, as long as there is one.
  unowned(unsafe) var taskExecutor: LoopTaskExecutor?

  /// How many descriptors libevent opens for a loop: epoll's, and a pair for signals.
  private static let descriptorsOfLibevent = 3

  init() throws(SocketError) {
    // libevent ends the process when it gets some of its descriptors and not all. Another thread may still take
    // the last ones in between.
    let base = unsafe SystemCalls.withDescriptors(Self.descriptorsOfLibevent) { unsafe Self.makeBase() }
    guard let base = unsafe base else {
      throw .socketResource
    }
    unsafe self.base = base
    ownsBase = true
    wakeDescriptor = SystemCalls.openEventDescriptor()
    super.init(hasLoop: true)
    try prepare()
  }

  private static func makeBase() -> OpaquePointer? {
    guard let config = unsafe event_config_new() else { return nil }
    // Only this thread touches the base, so its locks would be work for nothing.
    unsafe event_config_set_flag(config, CInt(CLIBEVENT_BASE_NOLOCK))
    defer { unsafe event_config_free(config) }
    return unsafe event_base_new_with_config(config)
  }

  init(adopting base: OpaquePointer) throws(SocketError) {
    unsafe self.base = base
    ownsBase = false
    wakeDescriptor = SystemCalls.openEventDescriptor()
    super.init(hasLoop: true)
    try prepare()
    // The thread that runs the loop becomes its thread at the first turn, and not at the first event.
    comeBack()
  }

  private func prepare() throws(SocketError) {
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    // Edge-triggered, where the loop can: a descriptor that cannot be read must not keep it awake.
    let persistentRead = Int16(CLIBEVENT_READ | CLIBEVENT_PERSIST | CLIBEVENT_EDGE_TRIGGERED)
    unsafe wakeEvent = event_new(base, wakeDescriptor, persistentRead, wakeCallback, context)
    unsafe timer = event_new(base, -1, 0, timerCallback, context)
    guard wakeDescriptor >= 0, let wakeEvent = unsafe wakeEvent, unsafe timer != nil,
      unsafe event_add(wakeEvent, nil) == 0
    else {
      throw .socketResource
    }
  }

  deinit {
    freeEvents()
    if ownsBase {
      unsafe event_base_free(base)
    }
    if wakeDescriptor >= 0 {
      SystemCalls.closeDescriptor(wakeDescriptor)
    }
  }

  /// Events go before their base does, and one that was adopted may go with the event base.
  private func freeEvents() {
    if let wakeEvent = unsafe wakeEvent { unsafe event_free(wakeEvent) }
    if let timer = unsafe timer { unsafe event_free(timer) }
    unsafe wakeEvent = nil
    unsafe timer = nil
    // The process's signals do again what they did before.
    signalWatches = []
    mainQueueWatch = nil
  }

  /// Whether the loop knows edge-triggered events: all but an adopted one with an old method do.
  private(set) lazy var hasEdges =
    unsafe event_base_get_features(base) & CInt(CLIBEVENT_FEATURE_EDGE_TRIGGERED) != 0

  // MARK: - Turns

  /// - Parameters:
  ///   - isEnd: asked when ``stop()`` was called: false where that was not the end.
  ///   - bodyEnded: ends what waits for a loop that has run for a body; nil where it has run until it was stopped.
  func run(isEnd: () -> Bool = { true }, bodyEnded: (() -> Void)? = nil) {
    whileOwningThread {
      repeat {
        while !stopRequested.exchange(false, ordering: .acquiringAndReleasing) {
          turn(flags: 0)
        }
      } while !isEnd()
      if let bodyEnded {
        hasEndedWithBody = true
        bodyEnded()
      }
      return true
    }
  }

  func runOnce(timeout: Duration?) {
    whileOwningThread {
      turn(within: timeout)
      return false
    }
  }

  /// Turns at least once unless `isDone`, and until it is, or `deadline` has passed.
  func run(until deadline: ContinuousClock.Instant?, or isDone: () -> Bool) {
    whileOwningThread {
      var isLast = false
      while !isDone() && !isLast {
        let left = deadline.map { $0 - .now }
        isLast = left.map { $0 <= .zero } ?? false
        turn(within: left)
      }
      return false
    }
  }

  /// Runs what was posted before, then `body`. Nothing within itself: libevent's loop cannot be nested.
  ///
  /// - Parameter body: returns whether that was the end of the loop, until a thread runs it again.
  private func whileOwningThread(_ body: () -> Bool) {
    guard enter() else { return }
    prepareForThread()
    isRunning = true
    hasEndedWithBody = false
    let hadEnded = begin()
    runJobs()
    let isEnd = body()
    if isEnd {
      // Jobs at hand are run, as events at hand are.
      drainInbox()
      runJobs()
    }
    isRunning = false
    if isEnd || hadEnded {
      leaveEnded()
    } else {
      leave(free: false)
    }
  }

  /// For what depends on which thread runs the loop.
  private func prepareForThread() {
    let thread = clibevent_thread()
    guard preparedThread != thread else { return }
    preparedThread = thread
    watchMainQueue()
  }

  /// Handlers that wait for their time refer to the loop, more often than not: it could never be released.
  private func leaveEnded() {
    withExtendedLifetime(exchange(&delayed, with: [:])) {}
    sleepers.values.forEach { $0.wake(.recheck) }
    endInbox()
    leave(free: true)
    runRestElsewhere()
  }

  private func turn(within timeout: Duration?) {
    guard let timeout, let timer = unsafe timer else {
      return turn(flags: 0)
    }
    guard timeout > .zero else {
      return turn(flags: CInt(CLIBEVENT_LOOP_NONBLOCK))
    }
    unsafe add(timer, timeout: timeout)
    turn(flags: 0)
    unsafe event_del(timer)
  }

  private func turn(flags: CInt) {
    let wait = jobs.count > 0 ? CInt(CLIBEVENT_LOOP_NONBLOCK) : 0
    let how = CInt(CLIBEVENT_LOOP_ONCE | CLIBEVENT_LOOP_NO_EXIT_ON_EMPTY) | wait | flags
    if unsafe event_base_loop(base, how) < 0 {
      backOff()
    } else if backOffs > 0 {
      backOffs = 0
    }
    // What a task does in two steps, as with an actor of the loop, costs no look at the sockets in between.
    if runJobs() { runJobs() }
  }

  /// The kernel does not wait for events, and may never again: trying at once would keep a core busy.
  private func backOff() {
    let pause = min(5 << backOffs, 100)
    backOffs = min(backOffs + 1, 5)
    if case .value(Int(POLLIN)) = SystemCalls.wait(
      for: wakeDescriptor,
      POLLIN,
      until: .now + .milliseconds(pause)
    ) {
      // The event that would say so does not come.
      SystemCalls.clear(wakeDescriptor)
      drainInbox()
    }
  }

  func stop() {
    stopRequested.store(true, ordering: .releasing)
    wakeUp()
  }

  /// Calls `action` on the loop's thread for each of these signals; from any thread.
  ///
  /// - Parameter endsHungProcess: whether the third signal that the loop does not answer ends the process.
  /// - Returns: false when one of them cannot be taken; then none is.
  func watchSignals(
    _ signals: [CInt],
    endsHungProcess: Bool = true,
    action: @escaping @Sendable () -> SignalWatch.Answer
  ) -> Bool {
    guard let watch = SignalWatch(signals, endsHungProcess: endsHungProcess, action: action) else {
      return false
    }
    if exclusively({ add(watch) }) == nil {
      post(.local { [unowned self] in add(watch) })
    }
    return true
  }

  private func add(_ watch: SignalWatch) {
    watch.start(on: self)
    signalWatches.append(watch)
  }

  // MARK: - Time

  /// Adds an event. Its timeout counts from now: libevent alone would count from its cached time, which dates from
  /// the beginning of the turn, before the work of the handlers.
  ///
  /// - Returns: false when there is no memory or the kernel cannot watch the descriptor.
  @discardableResult
  func add(_ event: OpaquePointer, timeout: Duration?) -> Bool {
    unsafe add(event, nanoseconds: timeout?.nanoseconds)
  }

  /// The same, of nanoseconds from zero on, which are cheaper to count with.
  @discardableResult
  func add(_ event: OpaquePointer, nanoseconds: Int64?) -> Bool {
    guard let nanoseconds else { return unsafe event_add(event, nil) == 0 }
    unsafe _ = event_base_update_cache_time(base)
    var interval = timeval(nanoseconds: nanoseconds)
    return unsafe event_add(event, &interval) == 0
  }

  /// Calls `handler` once, when `delay` has passed.
  func after(_ delay: Duration, _ handler: @escaping () -> Void) {
    var id: ObjectIdentifier?
    let timer = LoopTimer(self, after: delay) { [unowned self] in
      // Out of the table first: the handler may set further ones, or release the event base.
      let timer = id.flatMap { delayed.removeValue(forKey: $0) }
      handler()
      withExtendedLifetime(timer) {}
    }
    id = ObjectIdentifier(timer)
    delayed[ObjectIdentifier(timer)] = timer
  }

  // MARK: - Jobs

  /// From the loop's thread: runs `job` after the events of this turn, with nothing of the caller on the stack.
  func enqueue(_ job: @escaping () -> Void) {
    guard !isAbandoned else { return job() }
    jobs.append(.local(job))
    if !isRunning, let timer = unsafe timer {
      // Foreign code runs the loop, or no thread yet: a timer that is due brings it here.
      var now = timeval()
      unsafe event_add(timer, &now)
    }
  }

  /// From the loop's thread: runs `job` once the sockets have been looked at again.
  func afterTurn(_ job: @escaping () -> Void) {
    guard !isAbandoned else { return job() }
    // Two batches run in a row, see `turn(flags:)`.
    enqueue { [unowned self] in enqueue(job) }
  }

  /// Runs `operation` as a part of the calling task on the loop's thread.
  ///
  /// - Parameter executor: the event base's own, of a caller that keeps the event base.
  func run<Success>(
    preferring executor: LoopTaskExecutor? = nil,
    _ operation: () async throws -> Success
  ) async rethrows -> Success {
    // On the loop the runtime sees by identity that a task is already where it wants to be. Elsewhere the event base
    // may be ending.
    let own = executor ?? (isOwner ? unsafe taskExecutor : nil)
    return try await withTaskExecutorPreference(own ?? LoopTaskExecutor(engine: self)) {
      // The compiler leaves the hop out where nothing but a call of an async function follows it (Swift 6.3), and
      // `operation` begins where its caller is.
      requireLoopThread("What an async call does on the loop")
      return try await operation()
    }
  }

  /// Runs the jobs that are there now; those they add wait for the next turn, so that sockets get theirs.
  ///
  /// - Returns: whether there are more.
  @discardableResult
  func runJobs() -> Bool {
    for _ in 0..<min(jobs.count, Self.longestBatch) {
      jobs.popFirst()?.run()
    }
    return jobs.count > 0
  }

  fileprivate func onWake() {
    // Clear the descriptor before the inbox is taken: a later post signals it again.
    SystemCalls.clear(wakeDescriptor)
    drainInbox()
    runJobsIfForeign()
  }

  /// Where foreign code runs the loop: runs the jobs, and comes back at once for those that are left.
  fileprivate func runJobsIfForeign() {
    if !isRunning, runJobs() { comeBack() }
  }

  private func comeBack() {
    guard let timer = unsafe timer else { return }
    var now = timeval()
    unsafe event_add(timer, &now)
  }

  /// Runs what a callback of libevent does. Where foreign code runs the loop, the callback's thread is the loop's
  /// meanwhile; every callback begins here.
  @inline(__always)
  func inCallback<Result>(_ body: () -> Result) -> Result {
    ownsBase || isOwner ? body() : inForeignCallback(body)
  }

  @inline(never)
  private func inForeignCallback<Result>(_ body: () -> Result) -> Result {
    guard enter() else { return body() }
    prepareForThread()
    defer {
      if jobs.count > 0 { comeBack() }
      leave(free: false)
    }
    return body()
  }

  func wakeUp() {
    SystemCalls.signal(wakeDescriptor)
  }

  override func releaseOnLoopThread(_ objects: Any) {
    post(.local { withExtendedLifetime(objects) {} })
  }

  /// Where the loop has ended, no turn runs the jobs that were posted here. For those that other threads have posted
  /// meanwhile, the pool may have found the loop in use.
  override func leaveExclusive() {
    let isOver = hasEnded
    if isOver { returnJobs() }
    leaveRest()
    if isOver { runRestElsewhere() }
  }

  // MARK: - End

  /// No thread can run the loop any more.
  ///
  /// - Parameter endClients: ends what still waits for events.
  func abortEverything(_ endClients: () -> Void) {
    // Ends what another thread may be running of the rest.
    _ = claim()
    isAbandoned = true
    // Released out of the table, because that runs others' code.
    withExtendedLifetime(exchange(&delayed, with: [:])) {}
    sleepers.values.forEach { $0.wake(.recheck) }
    endClients()
    endInbox()
    endLocalJobs()
    freeEvents()
    giveUp()
    runRestElsewhere()
  }
}

private func wakeCallback(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  guard let engine = unsafe engine(context) else { return }
  engine.inCallback { engine.onWake() }
}

private func timerCallback(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  guard let engine = unsafe engine(context) else { return }
  engine.inCallback { engine.runJobsIfForeign() }
}

private func engine(_ context: UnsafeMutableRawPointer?) -> EventEngine? {
  unsafe context.map { unsafe Unmanaged<EventEngine>.fromOpaque($0).takeUnretainedValue() }
}
