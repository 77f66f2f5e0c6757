// SPDX-License-Identifier: Apache-2.0

internal import Glibc

extension timeval {
  /// From zero to 31 years: libevent adds the time of its clock, and aborts for some negative sums. Rounded up: a wait must
  /// not end before its time.
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
