// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Runs the tests of a suite on threads of their own, a few at once: they block, and the pool of Swift's tasks, which the
/// asynchronous tests need, has a thread for each processor alone.
struct BlockingTests: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func scopeProvider(for test: Test, testCase: Test.Case?) -> Self? {
    testCase == nil ? nil : self
  }

  @concurrent
  func provideScope(
    for test: Test,
    testCase: Test.Case?,
    performing function: @Sendable @concurrent () async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(BlockingThreads.shared) {
      try await function()
    }
  }
}

extension Trait where Self == BlockingTests {
  /// For suites whose tests are synchronous.
  static var blocking: Self { Self() }
}

/// Threads that may block: as many as there are jobs, up to a limit.
private final class BlockingThreads: TaskExecutor {
  static let shared = BlockingThreads()

  private static let most = 4

  private struct State: Sendable {
    var jobs: [UnownedJob] = []
    var threads = 0
  }

  private let state = Locked(State())

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let needsThread = state.withLock { state in
      state.jobs.append(job)
      guard state.threads < Self.most else { return false }
      state.threads += 1
      return true
    }
    if needsThread { OtherThread { self.work() }.detach() }
  }

  /// Runs jobs, until there is none.
  private func work() {
    while let job = nextJob() {
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
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
