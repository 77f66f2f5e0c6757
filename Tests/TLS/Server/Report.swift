// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerTLS

/// What the server has counted, and what it holds, as "NAME=NUMBER ...".
struct Report: CustomStringConvertible, Sendable {
  private var numbers = [0, 0, 0, 0, 0, 0, 0, 0] as [UInt64]

  mutating func add(_ more: HandshakeStatistics) {
    let added = [
      UInt64(more.current), more.completed, more.resumed, more.failed, more.notTLS, more.closedSilently,
      more.timedOut,
      more.dropped,
    ]
    for index in numbers.indices { numbers[index] += added[index] }
  }

  var description: String {
    let names = [
      "current", "completed", "resumed", "failed", "notTLS", "closedSilently", "timedOut", "dropped",
    ]
    Self.returnFreeMemory()
    return (zip(names, numbers).map { "\($0)=\($1)" } + ["descriptors=\(Self.descriptors)"]).joined(
      separator: " "
    )
  }

  /// To the kernel, so that what is resident is in use. The function is in no header that Swift imports.
  private static func returnFreeMemory() {
    guard let symbol = unsafe dlsym(nil, "malloc_trim") else { return }
    let trim = unsafe unsafeBitCast(symbol, to: (@convention(c) (Int) -> CInt).self)
    _ = trim(0)
  }

  private static var descriptors: Int {
    guard let directory = unsafe opendir("/proc/self/fd") else { return 0 }
    defer { unsafe closedir(directory) }
    var count = 0
    while unsafe readdir(directory) != nil { count += 1 }
    return count
  }
}
