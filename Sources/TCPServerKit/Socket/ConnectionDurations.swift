// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// How long the connections of a server on one loop lasted, counted by powers of two, without memory for each.
///
/// `@unchecked Sendable` because of this invariant: `beginnings` is touched on the loop alone, and only the loop writes
/// the counts.
package final class ConnectionDurations: @unchecked Sendable {
  /// Bucket 0 counts connections of less than a microsecond, bucket n those of less than 2^n microseconds that
  /// are in no lower one, and the last one all others.
  package static let buckets = 32

  /// Counts by bucket.
  package struct Counts: Sendable {
    /// Connections that ended with everything delivered.
    package var delivered = [UInt64](repeating: 0, count: ConnectionDurations.buckets)
    /// Connections whose peer had not acknowledged everything that was written.
    package var undelivered = [UInt64](repeating: 0, count: ConnectionDurations.buckets)

    /// None yet.
    package init() {}
  }

  /// By descriptor, in nanoseconds; 0 where there is no connection.
  private var beginnings: [Int64] = []
  private let delivered = InlineArray<32, Atomic<UInt64>> { _ in Atomic(0) }
  private let undelivered = InlineArray<32, Atomic<UInt64>> { _ in Atomic(0) }

  func begin(_ descriptor: CInt) {
    guard descriptor >= 0 else { return }
    let index = Int(descriptor)
    if index >= beginnings.count {
      beginnings += [Int64](repeating: 0, count: max(index + 1 - beginnings.count, beginnings.count, 64))
    }
    beginnings[index] = Clocks.monotonic()
  }

  func end(_ descriptor: CInt, isDelivered: Bool) {
    let index = Int(descriptor)
    guard beginnings.indices.contains(index), beginnings[index] != 0 else { return }
    let bucket = Self.bucket(of: Clocks.monotonic() - beginnings[index])
    beginnings[index] = 0
    // Only this thread writes: adding needs no locked instruction.
    if isDelivered {
      delivered[bucket].store(delivered[bucket].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    } else {
      undelivered[bucket].store(undelivered[bucket].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }
  }

  static func bucket(of nanoseconds: Int64) -> Int {
    let microseconds = UInt64(max(nanoseconds, 0)) / 1000
    return min(UInt64.bitWidth - microseconds.leadingZeroBitCount, buckets - 1)
  }

  /// From any thread.
  func add(to counts: inout Counts) {
    for bucket in 0..<Self.buckets {
      counts.delivered[bucket] += delivered[bucket].load(ordering: .relaxed)
      counts.undelivered[bucket] += undelivered[bucket].load(ordering: .relaxed)
    }
  }
}
