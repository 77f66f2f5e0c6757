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

  /// When connections began, by descriptor, in nanoseconds; 0 where there is no connection.
  private struct Beginnings {
    private var times: [Int64] = []

    mutating func set(_ time: Int64, at descriptor: CInt) {
      let index = Int(descriptor)
      guard index >= 0 else { return }
      if index >= times.count {
        times += [Int64](repeating: 0, count: max(index + 1 - times.count, times.count, 64))
      }
      times[index] = time
    }

    mutating func take(at descriptor: CInt) -> Int64? {
      let index = Int(descriptor)
      guard times.indices.contains(index), times[index] != 0 else { return nil }
      return exchange(&times[index], with: 0)
    }
  }

  /// Neither of its functions calls anything that comes back here; checking that at run time would be a third of what it
  /// costs to count a connection.
  @exclusivity(unchecked) private var beginnings = Beginnings()
  private let delivered = InlineArray<32, Atomic<UInt64>> { _ in Atomic(0) }
  private let undelivered = InlineArray<32, Atomic<UInt64>> { _ in Atomic(0) }

  func begin(_ descriptor: CInt) {
    let now = Clocks.monotonic()
    unsafe beginnings.set(now, at: descriptor)
  }

  func end(_ descriptor: CInt, isDelivered: Bool) {
    guard let beginning = unsafe beginnings.take(at: descriptor) else { return }
    let bucket = Self.bucket(of: Clocks.monotonic() - beginning)
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
