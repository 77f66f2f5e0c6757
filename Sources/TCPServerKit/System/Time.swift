// SPDX-License-Identifier: Apache-2.0

internal import Glibc

extension timeval {
  /// At least zero and at most 31 years: libevent adds the time of its clock, and aborts for some negative sums.
  init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.limited.components
    // Rounded up: a wait must not end before its time.
    self.init(
      tv_sec: time_t(clamping: seconds),
      tv_usec: suseconds_t((attoseconds + 999_999_999_999) / 1_000_000_000_000)
    )
    if tv_usec >= 1_000_000 {
      tv_sec += 1
      tv_usec = 0
    }
  }

  /// The same of nanoseconds, which are not negative and limited.
  init(nanoseconds: Int64) {
    let microseconds = (nanoseconds + 999) / 1000
    self.init(tv_sec: time_t(microseconds / 1_000_000), tv_usec: suseconds_t(microseconds % 1_000_000))
  }
}

extension Duration {
  /// From zero to a thousand million seconds, which is as good as for ever and can be counted with.
  var limited: Duration {
    max(.zero, min(self, .seconds(1_000_000_000)))
  }

  /// Limited, and rounded up.
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = limited.components
    return seconds * 1_000_000_000 + (attoseconds + 999_999_999) / 1_000_000_000
  }

  /// Rounded up, of one that is limited.
  var wholeMilliseconds: Int64 {
    let (seconds, attoseconds) = components
    return seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
  }
}
