// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// The time of deadlines, in eighths of a second: as numbers of 32 bits, since every connection has some. They wrap, and
/// are compared by their distance.
enum Ticks {
  static let perSecond: UInt32 = 8
  static let nanoseconds: Int64 = 1_000_000_000 / Int64(perSecond)
  /// A year: a distance that is far from wrapping.
  static let most: UInt32 = 365 * 86400 * perSecond
  /// The kernel counts in steps of up to so much.
  static let kernelStep: Duration = .milliseconds(10)

  static var now: UInt32 {
    UInt32(truncatingIfNeeded: Clocks.monotonic() / nanoseconds)
  }

  /// At least so long, from 1 to ``most``.
  static func atLeast(_ duration: Duration) -> UInt32 {
    let (seconds, attoseconds) = duration.limited.components
    let parts = (attoseconds / 1_000_000_000 + nanoseconds - 1) / nanoseconds
    return max(1, UInt32(clamping: min(seconds * Int64(perSecond) + parts, Int64(most))))
  }

  /// Counted from now, a time may be up to a tick later.
  static func after(_ ticks: UInt32, from now: UInt32) -> UInt32 {
    now &+ ticks &+ 1
  }
}

/// A ``ConnectionPolicy`` as the loop goes by it, with its values within their limits.
final class ConnectionRules: Sendable {
  let policy: ConnectionPolicy
  let ends: PolicyEnds
  let firstByte: UInt32?
  let idle: Duration?
  let maximumAge: UInt32?
  /// How much earlier at most.
  let ageSpread: UInt32
  let grace: UInt32
  let window: Duration
  /// What has to move in a window.
  let bytesOfWindow: UInt32?
  /// When to look what has moved; nil where no limit needs that.
  let firstLook: UInt32?
  /// How often to look.
  let period: UInt32

  /// With a quarter of a second by which deadlines are rounded, at most a second.
  static let longestPeriod: UInt32 = 6

  init(_ policy: ConnectionPolicy, _ ends: PolicyEnds) {
    self.policy = policy
    self.ends = ends
    func limit(_ duration: Duration?) -> Duration? {
      duration.map { max(.milliseconds(250), min($0, .seconds(Int64(Ticks.most / Ticks.perSecond)))) }
    }
    idle = limit(policy.idle)
    let idleTicks = idle.map(Ticks.atLeast)
    firstByte = limit(policy.firstByte).map(Ticks.atLeast).flatMap { $0 <= idleTicks ?? .max ? $0 : nil }
    let age = limit(policy.maximumAge).map(Ticks.atLeast)
    maximumAge = age
    let jitter = policy.ageJitter > 0 ? min(policy.ageJitter, 1) : 0
    ageSpread = UInt32(Double(age ?? 0) * jitter)
    grace = policy.grace > .zero ? Ticks.atLeast(policy.grace) : 0
    window = min(max(.seconds(1), min(policy.rateWindow, .seconds(3600))), idle ?? .seconds(3600))
    let windowSeconds = window / .seconds(1)
    bytesOfWindow = policy.minimumRate.map {
      UInt32(min(Double(max($0, 1)) * windowSeconds, Double(1 << 30)))
    }
    let rateWindow = bytesOfWindow == nil ? nil : Ticks.atLeast(window)
    firstLook = [firstByte, idleTicks, rateWindow].compactMap(\.self).min()
    let shortest = min(firstLook ?? Ticks.most, age ?? Ticks.most)
    period = max(1, min(shortest / 8, Self.longestPeriod))
  }
}

/// How many connections of a server a policy has ended on one loop or by others, by reason. From any thread.
final class PolicyEnds: Sendable {
  private let firstByteTimeouts = Atomic<UInt64>(0)
  private let idleTimeouts = Atomic<UInt64>(0)
  private let tooSlow = Atomic<UInt64>(0)
  private let reachedMaximumAge = Atomic<UInt64>(0)
  private let cutForAge = Atomic<UInt64>(0)

  /// The numbers at one time.
  struct Counts: Sendable {
    var firstByteTimeouts: UInt64 = 0
    var idleTimeouts: UInt64 = 0
    var tooSlow: UInt64 = 0
    var reachedMaximumAge: UInt64 = 0
    var cutForAge: UInt64 = 0
  }

  func countEnd(_ reason: SocketError) {
    switch reason {
    case .firstByteTimeout: firstByteTimeouts.add(1, ordering: .relaxed)
    case .idleTimeout: idleTimeouts.add(1, ordering: .relaxed)
    case .tooSlow: tooSlow.add(1, ordering: .relaxed)
    default: cutForAge.add(1, ordering: .relaxed)
    }
  }

  func countMaximumAge() {
    reachedMaximumAge.add(1, ordering: .relaxed)
  }

  func add(to counts: inout Counts) {
    counts.firstByteTimeouts += firstByteTimeouts.load(ordering: .relaxed)
    counts.idleTimeouts += idleTimeouts.load(ordering: .relaxed)
    counts.tooSlow += tooSlow.load(ordering: .relaxed)
    counts.reachedMaximumAge += reachedMaximumAge.load(ordering: .relaxed)
    counts.cutForAge += cutForAge.load(ordering: .relaxed)
  }
}
