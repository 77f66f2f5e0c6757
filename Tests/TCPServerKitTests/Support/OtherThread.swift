// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// A thread beside the test's own.
@safe final class OtherThread: Sendable {
  private let body: @Sendable () -> Void
  private let handle = Locked<pthread_t?>(nil)

  /// Starts `body` on a new thread, which ``join()`` waits for.
  init(_ body: @escaping @Sendable () -> Void) {
    self.body = body
    var thread = pthread_t()
    let context = unsafe Unmanaged.passRetained(self).toOpaque()
    let failure = unsafe pthread_create(
      &thread,
      nil,
      { context in
        if let context = unsafe context as UnsafeMutableRawPointer? {
          unsafe Unmanaged<OtherThread>.fromOpaque(context).takeRetainedValue().body()
        }
        return nil
      },
      context
    )
    precondition(failure == 0, "no thread")
    handle.withLock { $0 = thread }
  }

  func join() {
    if let thread = takeHandle() { pthread_join(thread, nil) }
  }

  /// Lets the thread end by itself.
  func detach() {
    if let thread = takeHandle() { pthread_detach(thread) }
  }

  private func takeHandle() -> pthread_t? {
    handle.withLock { handle in
      defer { handle = nil }
      return handle
    }
  }

  /// The kernel's name for the calling thread: its folder under /proc.
  static var currentID: String {
    linkTarget(of: "/proc/thread-self")
  }

  /// Waits until a thread of this process sleeps in the kernel, which is how a blocking call looks from outside.
  ///
  /// - Returns: false when it did not within the limit of a test.
  static func waitUntilAsleep(_ id: String) -> Bool {
    let deadline = ContinuousClock.now + Loop.limit
    while state(of: id) != "S" {
      guard ContinuousClock.now < deadline else { return false }
      sched_yield()
    }
    return true
  }

  /// The letter after the name in the thread's `stat`.
  private static func state(of id: String) -> Character? {
    contents(of: "/proc/\(id)/stat").split(separator: ") ").last?.first
  }
}
