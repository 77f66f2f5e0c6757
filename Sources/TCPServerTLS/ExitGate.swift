// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// What other threads do with OpenSSL, until the process exits: then OpenSSL frees what they use. What is being done is
/// waited for, and nothing more is begun: a thread that comes later waits for the end of the process.
///
/// `@unchecked Sendable` because of this invariant: the lock is for any thread, and nothing else changes.
@safe final class ExitGate: @unchecked Sendable {
  /// To be used first when OpenSSL has been: handlers are called in the opposite order of their registration, and
  /// OpenSSL's own is to come after this one.
  static let shared: ExitGate = {
    let gate = ExitGate()
    atexit { ExitGate.shared.close() }
    return gate
  }()

  private let lock: UnsafeMutablePointer<pthread_rwlock_t>
  private let process = getpid()

  private init() {
    unsafe lock = .allocate(capacity: 1)
    unsafe lock.initialize(to: pthread_rwlock_t())
    var attributes = pthread_rwlockattr_t()
    unsafe pthread_rwlockattr_init(&attributes)
    // Else threads that overlap would hold the exit up as long as there is work.
    let kind = CInt(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    unsafe pthread_rwlockattr_setkind_np(&attributes, kind)
    unsafe pthread_rwlock_init(lock, &attributes)
    unsafe pthread_rwlockattr_destroy(&attributes)
  }

  /// Not to be called within itself.
  func pass<Result>(_ body: () -> Result) -> Result {
    unsafe pthread_rwlock_rdlock(lock)
    defer { unsafe pthread_rwlock_unlock(lock) }
    return body()
  }

  private func close() {
    // A child of fork() has none of the threads, and a lock that they may hold.
    guard getpid() == process else { return }
    unsafe pthread_rwlock_wrlock(lock)
  }
}
