// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What a client has received at the end of its connection.
struct Delivery: Equatable, Sendable, CustomStringConvertible {
  var bytes: [UInt8] = []
  /// 0 when the end was a proper one.
  var errnum: CInt = 0

  static func read(from descriptor: CInt) -> Delivery {
    var delivery = Delivery()
    while true {
      guard Descriptors.waitReadable(descriptor) else {
        delivery.errnum = ETIMEDOUT
        return delivery
      }
      switch Descriptors.receive(descriptor, maxLength: 1 << 18) {
      case .nothing:
        continue
      case .bytes(let bytes):
        delivery.bytes += bytes
      case .end:
        return delivery
      case .failed(let errnum):
        delivery.errnum = errnum
        return delivery
      }
    }
  }

  /// The delivery of exactly these bytes.
  static func whole(_ bytes: [UInt8]) -> Delivery {
    Delivery(bytes: bytes)
  }

  static func == (left: Delivery, right: Delivery) -> Bool {
    guard left.errnum == right.errnum, left.bytes.count == right.bytes.count else { return false }
    return unsafe left.bytes.withUnsafeBytes { left in
      unsafe right.bytes.withUnsafeBytes { right in
        guard let first = left.baseAddress, let second = right.baseAddress else { return true }
        return unsafe memcmp(first, second, left.count) == 0
      }
    }
  }

  var description: String {
    "\(bytes.count) bytes\(errnum == 0 ? "" : ", errno \(errnum)")"
  }
}

/// Bytes that differ from place to place, and from block to block.
///
/// - Parameter kind: bytes of another kind differ from these.
func pattern(_ count: Int, kind: Int = 0) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count)
  while bytes.count < count {
    bytes.append(UInt8(truncatingIfNeeded: bytes.count / 65522 &+ kind &* 101))
    bytes += patternBlock.prefix(count - bytes.count)
  }
  return bytes
}

/// Not by a range's map(), which takes a lock of Swift's run-time for each number in a build for the thread sanitizer.
private let patternBlock: [UInt8] = {
  var block: [UInt8] = []
  var number = 0
  while number < 65521 {
    block.append(UInt8(truncatingIfNeeded: number &* 7 &+ number >> 8))
    number += 1
  }
  return block
}()
