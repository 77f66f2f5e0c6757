// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization

/// Ports of 127.0.0.1 that are free: below those that the kernel hands out, and none of them twice, for opentracker
/// would share its port with another.
enum Ports {
  private static let next = Mutex(UInt16.random(in: 10_000..<20_000))

  /// The first of so many in a row, all free.
  static func free(_ count: UInt16 = 1) -> UInt16 {
    next.withLock { next in
      while true {
        let first = next
        next += count
        if next > 31_000 { next = 10_000 }
        if (first..<first + count).allSatisfy({ Listener(port: $0) != nil }) { return first }
      }
    }
  }

  /// Ten of them, as the program takes them.
  static func range() -> String {
    let first = free(10)
    return "\(first)-\(first + 9)"
  }
}
