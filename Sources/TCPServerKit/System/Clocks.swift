// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The kernel's clocks, in nanoseconds.
enum Clocks {
  /// Of a clock that goes on whatever the time of day is set to.
  @inline(__always) static func monotonic() -> Int64 {
    nanoseconds(of: CLOCK_MONOTONIC) ?? 0
  }

  /// The clock of the processor time of the calling thread, which any thread of the process may read; nil where there is
  /// none.
  static func ofThisThread() -> clockid_t? {
    var clock = clockid_t()
    return unsafe pthread_getcpuclockid(pthread_self(), &clock) == 0 ? clock : nil
  }

  /// - Returns: nil where the clock's thread is no more.
  static func nanoseconds(of clock: clockid_t) -> Int64? {
    var time = timespec()
    guard unsafe clock_gettime(clock, &time) == 0 else { return nil }
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
