// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import Testing

/// Runs the tests of a suite on threads of their own, some at once: they block while they wait for a program, and the
/// pool of Swift's tasks has a thread for each processor alone.
package struct BlockingTests: SuiteTrait, TestTrait, TestScoping {
  package var isRecursive: Bool { true }

  package func scopeProvider(for test: Test, testCase: Test.Case?) -> Self? {
    testCase == nil ? nil : self
  }

  package func provideScope(
    for test: Test,
    testCase: Test.Case?,
    performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(BlockingThreads.shared) {
      try await function()
    }
  }
}

extension Trait where Self == BlockingTests {
  package static var blocking: Self { Self() }
}

/// Threads that may block: as many as there are jobs, up to a limit.
private final class BlockingThreads: TaskExecutor {
  static let shared = BlockingThreads()

  private static let most = 8

  private struct State {
    var jobs: [UnownedJob] = []
    var threads = 0
  }

  private let state = Mutex(State())

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let needsThread = state.withLock { state in
      state.jobs.append(job)
      guard state.threads < Self.most else { return false }
      state.threads += 1
      return true
    }
    if needsThread { startThread() }
  }

  private func startThread() {
    var thread = pthread_t()
    let failure = pthread_create(
      &thread,
      nil,
      { _ in
        BlockingThreads.shared.work()
        return nil
      },
      nil
    )
    precondition(failure == 0, "no thread")
    pthread_detach(thread)
  }

  /// Runs jobs, until there is none.
  private func work() {
    while let job = nextJob() {
      job.runSynchronously(on: asUnownedTaskExecutor())
    }
  }

  private func nextJob() -> UnownedJob? {
    state.withLock { state in
      guard !state.jobs.isEmpty else {
        state.threads -= 1
        return nil
      }
      return state.jobs.removeFirst()
    }
  }
}
