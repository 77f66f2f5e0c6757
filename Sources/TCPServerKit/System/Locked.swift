// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A value behind a lock.
///
/// A pthread mutex and not Synchronization's `Mutex`, because the thread sanitizer understands only the former on
/// Linux: under the latter every hand-over between threads looks like a race.
///
/// `@unchecked Sendable` because of this invariant: `value` is touched by the holder of `mutex` alone.
@safe package final class Locked<Value: Sendable>: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private var value: Value

  package init(_ value: Value) {
    self.value = value
    unsafe mutex = .allocate(capacity: 1)
    unsafe mutex.initialize(to: pthread_mutex_t())
    unsafe pthread_mutex_init(mutex, nil)
  }

  deinit {
    unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
  }

  package func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    return body(&value)
  }
}
