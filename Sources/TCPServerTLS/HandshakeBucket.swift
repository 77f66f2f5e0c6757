// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// The tokens of ``SSLServer/handshakeRate``, as the core has them for `acceptRate`: one number, the time at which all
/// are there again.
struct HandshakeBucket {
  private let interval: Duration
  private let depth: Duration
  private var fullAt: ContinuousClock.Instant

  init(_ rate: AcceptRate, _ now: ContinuousClock.Instant) {
    let perSecond = min(max(rate.acceptsPerSecond, 1), 1_000_000_000)
    // A timer waits for a millisecond at least.
    let least = (perSecond + 999) / 1000
    interval = .nanoseconds(1_000_000_000 / perSecond)
    depth = interval * max(min(rate.burst ?? perSecond, 1_000_000_000), least)
    fullAt = now
  }

  /// Takes a token, where there is one.
  mutating func take(_ now: ContinuousClock.Instant) -> Bool {
    let next = max(fullAt, now) + interval
    guard next - now <= depth else { return false }
    fullAt = next
    return true
  }

  /// How long until there is one.
  func wait(_ now: ContinuousClock.Instant) -> Duration {
    max(max(fullAt, now) + interval - depth - now, .milliseconds(1))
  }
}
