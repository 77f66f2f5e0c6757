// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import TCPServerKit

/// What threads take their work from, until it ends and nothing is left.
///
/// `@unchecked Sendable` because of this invariant: the semaphore is for any thread, and the rest is behind a lock.
@safe final class WorkerQueue: @unchecked Sendable {
  typealias Work = @Sendable () -> Void

  private let works = Locked(FirstInFirstOut<Work>())
  /// Counts the works, and one more when it has ended.
  private let semaphore: UnsafeMutablePointer<sem_t>

  init() {
    unsafe semaphore = .allocate(capacity: 1)
    unsafe semaphore.initialize(to: sem_t())
    unsafe sem_init(semaphore, 0, 0)
  }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  func add(_ work: @escaping Work) {
    works.withLock { $0.append(work) }
    unsafe sem_post(semaphore)
  }

  /// Those that wait return, and so do those that come, once nothing is left.
  func end() {
    unsafe sem_post(semaphore)
  }

  /// Does what there is, and waits for more; returns at the end.
  func work() {
    while true {
      // Interrupted by a signal of the program.
      while unsafe sem_wait(semaphore) != 0 {}
      guard let work = works.withLock({ $0.popFirst() }) else { break }
      work()
      // A loop that has just used its share of this processor would wait for the scheduler's next tick otherwise.
      sched_yield()
    }
    // For the next of the threads.
    end()
  }
}
