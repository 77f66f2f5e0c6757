internal import CLibevent
internal import CServerCore
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// What drives an event base: turns of libevent's loop, the inbox for other threads, jobs between turns.
///
/// `@unchecked Sendable` because of this invariant: `inbox`, `stopRequested` and `wakeDescriptor` are safe from any
/// thread; everything else is touched by the thread that ``ThreadConfinement`` allows alone.
@safe final class EventEngine: ThreadConfinement, @unchecked Sendable {
  let base: OpaquePointer
  private let ownsBase: Bool
  private let wakeDescriptor: CInt
  private var wakeEvent: OpaquePointer?
  private var timer: OpaquePointer?
  private var signalWatches: [SignalWatch] = []
  /// Of handlers that are to be called once.
  private var delayed: [ObjectIdentifier: LoopTimer] = [:]

  private struct Inbox {
    var jobs: [Job] = []
    var wakePending = false
    var count: UInt64 = 0
  }

  private let inbox = Locked(Inbox())
  private let stopRequested = Atomic(false)
  private let jobs = JobQueue()
  private var localCount: UInt64 = 0
  private var isRunning = false
  private(set) var isAbandoned = false
  /// Turns in a row in which the kernel would not wait.
  private var rests = 0

  /// Servers that lacked descriptors or memory when they last tried; looked at whenever a socket closes its own.
  private var starving: [ServerCore] = []
  private(set) var hasStarvingServers = false
  /// Sockets that have just been connected; each is there as long as its flag says so.
  private var unwatched: [Unmanaged<TCPSocket>] = unsafe []
  /// What an overridden `incomingConnection(_:)` is being handed, until a socket has taken it.
  var incoming: (connection: csc_connection, home: SocketHome)?

  /// At most this many jobs run between two looks at the sockets.
  private static let longestBatch = 4096

  /// One buffer for all reads on this loop; whoever reads owns it until the handlers have run.
  let scratch = ScratchBuffer()

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
    if let wakeEvent = unsafe wakeEvent { unsafe event_free(wakeEvent) }
    if let timer = unsafe timer { unsafe event_free(timer) }
    // Their events go before their base does.
    signalWatches = []
    if ownsBase {
      unsafe event_base_free(base)
    }
    if wakeDescriptor >= 0 {
      SystemCalls.closeDescriptor(wakeDescriptor)
    }
  }

  /// Whether the loop knows edge-triggered events: all but an adopted one with an old method do.
  private(set) lazy var hasEdges =
    unsafe event_base_get_features(base) & CInt(CLIBEVENT_FEATURE_EDGE_TRIGGERED) != 0

  // MARK: - Turns

  func run() {
    whileOwningThread {
      while !stopRequested.exchange(false, ordering: .acquiringAndReleasing) {
        turn(flags: 0)
      }
      // Whichever thread uses the loop next may have it.
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
  /// - Parameter body: returns whether the loop is free for any thread afterwards.
  private func whileOwningThread(_ body: () -> Bool) {
    guard enter() else { return }
    isRunning = true
    takePosted()
    runJobs()
    let isFree = body()
    isRunning = false
    leave(free: isFree)
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
      rest()
    } else if rests > 0 {
      rests = 0
    }
    // What a task does in two steps, as with an actor of the loop, costs no look at the sockets in between.
    if runJobs() { runJobs() }
  }

  /// The kernel does not wait for events, and may never again: trying at once would keep a core busy.
  private func rest() {
    let pause = min(5 << rests, 100)
    rests = min(rests + 1, 5)
    if case .value(Int(POLLIN)) = SystemCalls.wait(
      for: wakeDescriptor,
      POLLIN,
      until: .now + .milliseconds(pause)
    ) {
      // The event that would say so does not come.
      SystemCalls.clear(wakeDescriptor)
      takePosted()
    }
  }

  func stop() {
    stopRequested.store(true, ordering: .releasing)
    wakeUp()
  }

  /// Calls `action` for each of these signals until it returns false.
  ///
  /// - Returns: false when libevent could not install a handler; then there is none.
  func watchSignals(_ signals: [CInt], action: @escaping () -> Bool) -> Bool {
    assertOnLoopThread()
    guard let watch = SignalWatch(self, signals, action: action) else { return false }
    signalWatches.append(watch)
    return true
  }

  // MARK: - Time

  /// Adds an event. Its timeout counts from now: libevent alone would count from its cached time, which dates from
  /// the beginning of the turn, before the work of the handlers.
  ///
  /// - Returns: false when there is no memory or the kernel cannot watch the descriptor.
  @discardableResult
  func add(_ event: OpaquePointer, timeout: Duration?) -> Bool {
    guard let timeout else { return unsafe event_add(event, nil) == 0 }
    unsafe _ = event_base_update_cache_time(base)
    var interval = timeval(timeout)
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

  /// From any thread.
  func post(_ job: Job) {
    if isOwner {
      localCount &+= 1
      jobs.append(job)
    } else {
      postFromElsewhere(job)
    }
  }

  override func releaseOnLoopThread(_ objects: Any) {
    post(.local { withExtendedLifetime(objects) {} })
  }

  /// A burst costs one write: the loop is woken once until it has looked.
  private func postFromElsewhere(_ job: Job) {
    let mustWake = inbox.withLock { inbox in
      inbox.jobs.append(job)
      inbox.count &+= 1
      defer { inbox.wakePending = true }
      return !inbox.wakePending
    }
    if mustWake {
      wakeUp()
    }
  }

  /// From the loop's thread: runs `job` after the events of this turn, with nothing of the caller on the stack.
  func later(_ job: @escaping () -> Void) {
    guard !isAbandoned else { return job() }
    jobs.append(.local(job))
    if !isRunning, let timer = unsafe timer {
      // Somebody else runs the loop, or nobody yet: a timer that is due brings it here.
      var now = timeval()
      unsafe event_add(timer, &now)
    }
  }

  /// Runs the jobs that are there now; those they add wait for the next turn, so that sockets get theirs.
  ///
  /// - Returns: whether there are more.
  @discardableResult
  fileprivate func runJobs() -> Bool {
    for _ in 0..<min(jobs.count, Self.longestBatch) {
      jobs.popFirst()?.run()
    }
    return jobs.count > 0
  }

  var statistics: EventBase.Statistics {
    let fromElsewhere = inbox.withLock { $0.count }
    return EventBase.Statistics(jobs: localCount &+ fromElsewhere, jobsFromOtherThreads: fromElsewhere)
  }

  fileprivate func onWake() {
    // Cleared first: what is posted after the look writes anew.
    SystemCalls.clear(wakeDescriptor)
    takePosted()
    runJobsIfForeign()
  }

  /// Looks into the inbox, which takes a lock: where the loop begins, and when somebody woke it.
  private func takePosted() {
    let posted = inbox.withLock { inbox in
      inbox.wakePending = false
      return exchange(&inbox.jobs, with: [])
    }
    for job in posted {
      jobs.append(job)
    }
  }

  /// Where somebody else's code runs the loop: runs the jobs, and comes back at once for those that are left.
  fileprivate func runJobsIfForeign() {
    if !isRunning, runJobs(), let timer = unsafe timer {
      var now = timeval()
      unsafe event_add(timer, &now)
    }
  }

  fileprivate func wakeUp() {
    SystemCalls.signal(wakeDescriptor)
  }

  // MARK: - Connections that are not watched yet

  /// Looks after the events of this turn whether `socket` is watched, and watches it if not. Most are by then, or have
  /// ended.
  func watchLater(_ socket: TCPSocket) {
    if unsafe unwatched.isEmpty {
      later { [unowned self] in watchUnwatched() }
    }
    unsafe unwatched.append(.passUnretained(socket))
  }

  private func watchUnwatched() {
    let sockets = unsafe exchange(&unwatched, with: []).map { unsafe $0.takeUnretainedValue() }
    for socket in sockets {
      socket.watchUnlessWatched()
    }
  }

  /// A socket that was given to ``watchLater(_:)`` is released.
  func forgetUnwatched(_ socket: TCPSocket) {
    let pointer = unsafe Unmanaged.passUnretained(socket).toOpaque()
    unsafe unwatched.removeAll { unsafe $0.toOpaque() == pointer }
  }

  // MARK: - Servers without descriptors

  func addStarving(_ server: ServerCore) {
    guard !starving.contains(where: { $0 === server }) else { return }
    starving.append(server)
    hasStarvingServers = true
  }

  func descriptorFreed() {
    starving.removeAll { !$0.descriptorFreed() }
    hasStarvingServers = !starving.isEmpty
  }

  // MARK: - End

  /// Nobody can run the loop any more. Ends what still waits for events: sockets stay alive while they do.
  func abortEverything() {
    isAbandoned = true
    while jobs.popFirst() != nil {}
    // Released out of the table, because that runs others' code.
    let dropped = exchange(&delayed, with: [:])
    withExtendedLifetime(dropped) {}
    // A job may hold a socket, which holds this engine. Released out of the lock, because that runs others' code.
    let posted = inbox.withLock { exchange(&$0.jobs, with: []) }
    withExtendedLifetime(posted) {}
    unsafe TCPSocket.abortAll(on: base)
  }
}

extension timeval {
  /// At least zero and at most 31 years: libevent adds the time of its clock, and aborts for some negative sums.
  init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.limited.components
    // Rounded up: a wait must not end before its time.
    self.init(
      tv_sec: time_t(clamping: seconds),
      tv_usec: suseconds_t((attoseconds + 999_999_999_999) / 1_000_000_000_000)
    )
    if tv_usec >= 1_000_000 {
      tv_sec += 1
      tv_usec = 0
    }
  }
}

extension Duration {
  /// From zero to a thousand million seconds, which is as good as for ever and can be counted with.
  var limited: Duration {
    max(.zero, min(self, .seconds(1_000_000_000)))
  }
}

private func wakeCallback(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  unsafe engine(context)?.onWake()
}

private func timerCallback(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  unsafe engine(context)?.runJobsIfForeign()
}

private func engine(_ context: UnsafeMutableRawPointer?) -> EventEngine? {
  unsafe context.map { unsafe Unmanaged<EventEngine>.fromOpaque($0).takeUnretainedValue() }
}
