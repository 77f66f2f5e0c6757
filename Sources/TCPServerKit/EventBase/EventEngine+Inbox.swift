// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Jobs for the loop, from its own thread and from others.
extension EventEngine {
  struct Inbox {
    var jobs: [Job] = []
    var wakePending = false
    var count: UInt64 = 0
    /// Whether the loop has run and ended, or its event base was released. Then the rest of its jobs runs elsewhere.
    var hasEnded = false
    /// Whether a thread has ever run the loop.
    var hasBegun = false
    /// Until then, that a task waits for it.
    var neverRun: LateWarning?
    var restIsScheduled = false
    /// Of each object, how many bytes wait here for the loop; negative once there were too many.
    var bytes: [ObjectIdentifier: Int] = [:]

    /// Of a job for a loop that no thread has run yet: a task may wait for it for ever.
    mutating func warnLater(of job: Job) {
      guard neverRun == nil, !job.isForTheLoopAlone else { return }
      neverRun = LateWarning(
        """
        A task has waited for 2 seconds for an EventBase that no thread runs. Call EventBase.run() or \
        EventBase.run(_:); in an async function use EventBase.withThread(_:).
        """
      )
    }
  }

  /// How many bytes of one object may wait for the loop.
  private static let mostPostedBytes = 64 << 20

  /// From any thread.
  func post(_ job: Job) {
    if isOwner {
      // One thread writes it at a time.
      localCount.store(localCount.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
      jobs.append(job)
    } else {
      postFromOtherThread(job)
    }
  }

  /// A burst costs one write: the loop is woken once until it has looked.
  private func postFromOtherThread(_ job: Job) {
    let (mustWake, hasEnded) = inbox.withLock { inbox in
      inbox.jobs.append(job)
      inbox.count &+= 1
      if !inbox.hasBegun { inbox.warnLater(of: job) }
      defer { inbox.wakePending = true }
      return (!inbox.wakePending, inbox.hasEnded)
    }
    if mustWake {
      wakeUp()
    }
    if hasEnded {
      runRestElsewhere()
    }
  }

  /// From another thread: hands bytes over to the loop, up to a limit for each object.
  ///
  /// - Parameter job: is given whether all bytes are there that were posted before; called once for those that are not.
  /// - Returns: whether there was room.
  func post<Target: AnyObject & Sendable>(
    _ count: Int,
    for target: Target,
    _ job: @escaping @Sendable (Target, _ isComplete: Bool) -> Void
  ) -> Bool {
    let id = ObjectIdentifier(target)
    let (hadRoom, isFirstWithout) = inbox.withLock { inbox in
      let before = inbox.bytes[id] ?? 0
      let hasRoom = before >= 0 && before + count <= max(Self.mostPostedBytes, count)
      inbox.bytes[id] = hasRoom ? before + count : -1
      return (hasRoom, !hasRoom && before >= 0)
    }
    guard hadRoom || isFirstWithout else { return false }
    post(
      .closure { [unowned self] in
        inbox.withLock { inbox in
          let left = (inbox.bytes[id] ?? 0) - count
          if hadRoom && left > 0 {
            inbox.bytes[id] = left
          } else if !hadRoom || left == 0 {
            inbox.bytes[id] = nil
          }
        }
        job(target, hadRoom)
      }
    )
    return hadRoom
  }

  /// Whether the loop has run and ended, and does not run again.
  var hasEnded: Bool {
    inbox.withLock { $0.hasEnded }
  }

  /// How many jobs of other threads the loop has not fetched; from any thread.
  var waitingJobs: Int {
    inbox.withLock { $0.jobs.count }
  }

  /// Moves the inbox to the loop's own jobs, which takes a lock: where the loop begins, and when a post woke it.
  func drainInbox() {
    let posted = inbox.withLock { inbox in
      inbox.wakePending = false
      inbox.hasBegun = true
      inbox.neverRun = nil
      return exchange(&inbox.jobs, with: [])
    }
    for job in posted {
      jobs.append(job)
    }
  }

  /// The loop begins, on this thread.
  ///
  /// - Returns: whether it had ended before.
  func begin() -> Bool {
    let hadEnded = inbox.withLock { exchange(&$0.hasEnded, with: false) }
    drainInbox()
    return hadEnded
  }

  /// A thread is about to run the loop, and what is posted from now on waits for that. Another one may still be running
  /// what an earlier run has left.
  func willBegin() {
    inbox.withLock { inbox in
      inbox.hasBegun = true
      inbox.hasEnded = false
    }
  }

  /// The loop has ended. What it has not run waits with what others post from now on.
  func endInbox() {
    returnJobs()
    inbox.withLock { $0.hasEnded = true }
  }

  /// The event base is released. What ``EventBase/execute(_:)`` was given is released, uncalled; what the engine's own
  /// objects have left is run here, because the caller may have the loop for good. Tasks go on elsewhere.
  func endLocalJobs() {
    let jobs = inbox.withLock { inbox in
      let jobs = exchange(&inbox.jobs, with: [])
      inbox.jobs = jobs.filter { !$0.isForTheLoopAlone }
      return jobs.filter(\.isForTheLoopAlone)
    }
    for case .local(let job) in jobs { job() }
  }

  func returnJobs() {
    var left: [Job] = []
    while let job = jobs.popFirst() {
      left.append(job)
    }
    inbox.withLock { $0.jobs.insert(contentsOf: left, at: 0) }
  }

  // MARK: - The rest of a loop that has ended

  /// The thread that ran the loop until it ended is still the loop's, and runs what it gives at once.
  ///
  /// - Returns: false, having done nothing, where the caller is another thread, or the loop has not ended.
  func runAtOnce(_ job: @escaping @Sendable () -> Void) -> Bool {
    guard ranHereLast, !isOwner else { return false }
    let isAdded = inbox.withLock { inbox in
      guard inbox.hasEnded else { return false }
      inbox.jobs.append(.closure(job))
      inbox.count &+= 1
      return true
    }
    guard isAdded else { return false }
    // Once: a task that yields again and again goes on elsewhere.
    runRest()
    runRestElsewhere()
    return true
  }

  /// Has the jobs of a loop that has ended run by a thread of the global pool, one after the other: a task that was
  /// suspended goes on to its end, and a job that refers to the loop does not keep it alive for ever.
  ///
  /// Nothing happens while a thread runs the loop again, or uses its objects.
  func runRestElsewhere() {
    let isMine = inbox.withLock { inbox in
      guard inbox.hasEnded, !inbox.jobs.isEmpty, !inbox.restIsScheduled else { return false }
      inbox.restIsScheduled = true
      return true
    }
    guard isMine else { return }
    Task.detached { [self] in
      runRest()
      inbox.withLock { $0.restIsScheduled = false }
      // A post that saw the flag has left its job to this task; so has a thread that has just left the loop.
      if isUnclaimed { runRestElsewhere() }
    }
  }

  private func runRest() {
    guard enterForRest() else { return }
    let rest = inbox.withLock { inbox in
      inbox.wakePending = false
      return inbox.hasEnded ? exchange(&inbox.jobs, with: []) : []
    }
    CurrentEventBase.with(eventBase) {
      for job in rest {
        // Of an event base that was released, only tasks go on.
        if case .closure = job, isAbandoned { continue }
        job.run()
      }
    }
    // Those that these have posted.
    returnJobs()
    leaveRest()
  }

  var statistics: EventBase.Statistics {
    let fromElsewhere = inbox.withLock { $0.count }
    let all = localCount.load(ordering: .relaxed) &+ fromElsewhere
    return EventBase.Statistics(jobs: all, jobsFromOtherThreads: fromElsewhere)
  }
}
