// SPDX-License-Identifier: Apache-2.0

/// One thing for the loop to do between two turns. An enum, because a closure for each would be an allocation.
///
/// `@unchecked Sendable` because of this invariant: `local` is run on the loop's thread, and made there or from
/// what no other thread uses any more; the target of `cancel` is only retained and released elsewhere, never touched.
@safe enum Job: @unchecked Sendable {
  case closure(@Sendable () -> Void)
  /// Runs code that is not `Sendable`.
  case local(() -> Void)
  /// A piece of a task that prefers the loop's task executor.
  case task(UnownedJob, UnownedTaskExecutor)
  /// A piece of work of an actor pinned to the loop.
  case actor(UnownedJob, UnownedSerialExecutor)
  /// Ends a wait whose task was cancelled.
  case cancel(any CancellableWait, wait: UInt32)

  /// Not a part of a task.
  var isForTheLoopAlone: Bool {
    switch self {
    case .closure, .local: true
    case .task, .actor, .cancel: false
    }
  }

  func run() {
    switch self {
    case .closure(let body): body()
    case .local(let body): body()
    case .task(let job, let executor): unsafe job.runSynchronously(on: executor)
    case .actor(let job, let executor): unsafe job.runSynchronously(on: executor)
    case .cancel(let target, let wait): target.cancelWait(wait)
    }
  }
}

/// Something on the loop that a task can wait for. Each wait has a number, so that a late cancellation of one
/// does not end the next.
protocol CancellableWait: AnyObject {
  func cancelWait(_ wait: UInt32)
}
