// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc
internal import Synchronization

/// The one thread that may touch a loop, and all that lives on it.
///
/// While a thread runs the loop, it is that thread. Otherwise it is the first thread to use the loop, or the one that
/// turned it last, until another thread runs it. Objects without a loop belong to the first thread that uses them.
///
/// `@unchecked Sendable` because it is not final. Its properties may be used from any thread.
class ThreadConfinement: @unchecked Sendable {
  /// The thread that runs the loop, plus ``rest`` while it only runs what was left there; 0 when none does.
  private let runner = Atomic<UInt>(0)
  /// The thread that has it while none runs it; 0 when that is still open.
  private let holder = Atomic<UInt>(0)
  /// The thread that ran the loop until it ended.
  private let lastRunner = Atomic<UInt>(0)
  /// The addresses that identify threads are even.
  private static let rest: UInt = 1
  /// For the text of a trap.
  final let hasLoop: Bool

  /// - Parameter hasLoop: whether there is a loop that a thread may run.
  init(hasLoop: Bool) {
    self.hasLoop = hasLoop
  }

  /// Passes what another thread has let go of to the right one, which releases it. Without a loop nothing could.
  func releaseOnLoopThread(_ objects: Any) {}

  /// Whether the caller is on the thread that runs the loop.
  @inline(__always)
  final var isOwner: Bool {
    runner.load(ordering: .relaxed) & ~Self.rest == clibevent_thread()
  }

  /// Whether the caller may touch the loop's objects. While no thread runs the loop, the first to ask gets it.
  final func claim() -> Bool {
    guard !isOwner else { return true }
    guard waitForRest() == 0 else { return false }
    let thread = clibevent_thread()
    let (isClaimed, earlier) = holder.compareExchange(
      expected: 0,
      desired: thread,
      ordering: .sequentiallyConsistent
    )
    // A thread that has begun meanwhile to run what was left sees that the loop is taken, and leaves.
    return (isClaimed || earlier == thread) && waitForRest() == 0
  }

  /// The thread that runs the loop; 0 for none. Waits for one that runs what was left, which ends soon.
  private func waitForRest() -> UInt {
    while true {
      let running = runner.load(ordering: .sequentiallyConsistent)
      guard running & Self.rest != 0 else { return running }
      sched_yield()
    }
  }

  /// Stops the program, in release builds too, when the caller may not touch the loop's objects.
  ///
  /// - Parameter call: as its documentation names it: "TCPSocket.readAll()".
  @inline(__always)
  final func requireLoopThread(_ call: StaticString) {
    if !isOwner { requireClaim(call) }
  }

  @inline(never)
  final func requireClaim(_ call: StaticString) {
    guard !claim() else { return }
    guard hasLoop else {
      fatalError(
        """
        \(call) was called on another thread than the first call of its object, which has no EventBase. \
        Use the object on one thread.
        """
      )
    }
    guard runner.load(ordering: .relaxed) != 0 else {
      fatalError(
        """
        \(call) was called on another thread than the one that has used its EventBase so far. No thread runs the \
        EventBase now. Use it on one thread until a thread runs it, or use EventBase.execute(_:).
        """
      )
    }
    fatalError(
      """
      \(call) was called on another thread than its EventBase's, as by a plain Task, which runs elsewhere. Call it \
      from a handler of that loop, from Task(executorPreference: eventBase.taskExecutor), or in EventBase.execute(_:).
      """
    )
  }

  /// Makes this thread the one that runs the loop.
  ///
  /// - Returns: false when it is already. Stops the program when another thread runs the loop.
  final func enter() -> Bool {
    guard !isOwner else { return false }
    let thread = clibevent_thread()
    while true {
      guard waitForRest() == 0 else {
        fatalError(
          "An EventBase was run by a thread while another runs it. Give each thread an EventBase of its own."
        )
      }
      if runner.compareExchange(expected: 0, desired: thread, ordering: .acquiringAndReleasing).exchanged {
        holder.store(thread, ordering: .relaxed)
        return true
      }
    }
  }

  /// Makes this thread the one that runs what was left of a loop that has ended. Other threads wait until it leaves.
  ///
  /// - Returns: false when a thread runs the loop, or another one has it.
  final func enterForRest() -> Bool {
    let thread = clibevent_thread() | Self.rest
    guard runner.compareExchange(expected: 0, desired: thread, ordering: .sequentiallyConsistent).exchanged
    else {
      return false
    }
    let holding = holder.load(ordering: .sequentiallyConsistent)
    guard holding == 0 || holding == clibevent_thread() else {
      runner.store(0, ordering: .releasing)
      return false
    }
    return true
  }

  /// Runs `body`, which calls no code of the program, on the loop's thread or while no thread can begin to run the loop.
  ///
  /// - Returns: nil, without having run it, where another thread runs the loop or has it.
  @inline(__always)
  final func exclusively<Result>(_ body: () -> Result) -> Result? {
    isOwner ? body() : exclusivelyIfFree(body)
  }

  /// Does not claim the loop: what any thread may call must not take it from the one that uses it next.
  private func exclusivelyIfFree<Result>(_ body: () -> Result) -> Result? {
    guard enterForRest() else { return nil }
    defer { leaveExclusive() }
    return body()
  }

  /// Ends what ``exclusively(_:)`` began where no thread runs the loop.
  func leaveExclusive() {
    leaveRest()
  }

  /// Whether the caller runs what was left of a loop that has ended.
  final var isRunningRest: Bool {
    runner.load(ordering: .relaxed) == clibevent_thread() | Self.rest
  }

  /// Whether no thread runs the loop or has it.
  final var isUnclaimed: Bool {
    runner.load(ordering: .sequentiallyConsistent) == 0 && holder.load(ordering: .sequentiallyConsistent) == 0
  }

  /// Gives a loop that no thread runs to whichever thread uses it next.
  final func giveUp() {
    holder.store(0, ordering: .releasing)
  }

  /// Ends what ``enter()`` began.
  ///
  /// - Parameter free: whether any thread may use the loop next; otherwise it stays this thread's.
  final func leave(free: Bool) {
    if free {
      holder.store(0, ordering: .relaxed)
      lastRunner.store(clibevent_thread(), ordering: .relaxed)
    }
    runner.store(0, ordering: .releasing)
  }

  /// Ends what ``enterForRest()`` began.
  final func leaveRest() {
    runner.store(0, ordering: .releasing)
  }

  /// Whether the caller's thread is the last that ran the loop to its end.
  final var ranHereLast: Bool {
    lastRunner.load(ordering: .relaxed) == clibevent_thread()
  }
}
