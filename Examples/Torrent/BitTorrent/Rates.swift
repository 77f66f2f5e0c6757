// SPDX-License-Identifier: Apache-2.0

/// How many bytes may go through, for all peers together.
package struct RateBudget {
  /// Bytes a second; nil for as many as there are.
  package let limit: Int?
  private var balance = 0.0

  package init(limit: Int?) {
    // More than this goes through nowhere, and can be counted in a floating-point number.
    self.limit = limit.map { min($0, 1 << 40) }
  }

  /// To be called again and again. Time in which nothing went through counts for a second at most.
  package mutating func refill(after elapsed: Duration) {
    guard let limit else { return }
    balance = min(balance + Double(limit) * min(elapsed / .seconds(1), 1), Double(limit))
  }

  package var available: Int {
    limit == nil ? .max : max(Int(balance), 0)
  }

  /// May be more than is available: the next ones wait the longer.
  package mutating func take(_ count: Int) {
    if limit != nil {
      balance -= Double(count)
    }
  }

  /// How much of this kind a socket may hold: `factor` seconds' worth, between a block and 256 KiB.
  package func bufferSize(seconds factor: Int) -> Int {
    min(max((limit ?? .max) / 1024 * factor, 16), 256) * 1024
  }
}

/// Bytes a second, over the last 16 of them.
package struct SpeedMeter {
  private static let slotLength: Duration = .seconds(2)

  private var slots = [Int](repeating: 0, count: 8)
  private var current = 0
  private var slotStart: ContinuousClock.Instant
  private let start: ContinuousClock.Instant
  package private(set) var total = 0

  package init(now: ContinuousClock.Instant) {
    start = now
    slotStart = now
  }

  package mutating func add(_ count: Int, now: ContinuousClock.Instant) {
    advance(to: now)
    slots[current] += count
    total += count
  }

  package mutating func speed(now: ContinuousClock.Instant) -> Int {
    advance(to: now)
    let most = Self.slotLength * (slots.count - 1) + (now - slotStart)
    let span = max(min(now - start, most) / .seconds(1), 1)
    return Int(Double(slots.reduce(0, +)) / span)
  }

  private mutating func advance(to now: ContinuousClock.Instant) {
    let passed = Int((now - slotStart) / Self.slotLength)
    guard passed > 0 else { return }
    for _ in 0..<min(passed, slots.count) {
      current = (current + 1) % slots.count
      slots[current] = 0
    }
    slotStart += Self.slotLength * passed
  }
}
