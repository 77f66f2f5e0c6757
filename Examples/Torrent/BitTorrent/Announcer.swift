// SPDX-License-Identifier: Apache-2.0

/// When to send which announce to which of a torrent's trackers. Sends nothing itself.
package struct Announcer {
  package typealias Instant = ContinuousClock.Instant
  package typealias Event = TrackerRequest.Event

  private static let firstPause: Duration = .seconds(5)
  private static let longestPause: Duration = .seconds(300)

  private let trackers: [String]
  private var current = 0
  private var pending: [Event] = []
  private var isAsking = false
  private var asked: Event?
  private var isKnown = false
  private var due: Instant?
  private var pause = Self.firstPause
  package private(set) var trackerID: [UInt8]?

  package init(trackers: [String]) {
    self.trackers = trackers
  }

  /// Whether all announces were sent.
  package var isIdle: Bool {
    pending.isEmpty && !isAsking
  }

  /// Something has happened that the tracker is to know.
  package mutating func add(_ event: Event, now: Instant) {
    guard !trackers.isEmpty else { return }
    if event == .stopped {
      // Who never heard of us need not hear that we go.
      pending.removeAll { $0 == .started }
      guard isKnown || isAsking else { return pending = [] }
    }
    pending.append(event)
    due = now
  }

  /// The announce to send now, if any; ``succeeded(_:now:)`` or ``failed(now:)`` has to follow.
  package mutating func next(now: Instant) -> (tracker: String, event: Event?)? {
    guard !isAsking, let due, due <= now, trackers.indices.contains(current) else { return nil }
    isAsking = true
    asked = pending.first
    return (trackers[current], asked)
  }

  package mutating func succeeded(_ reply: TrackerReply, now: Instant) {
    isAsking = false
    isKnown = true
    pause = Self.firstPause
    trackerID = reply.trackerID ?? trackerID
    if let asked, pending.first == asked { pending.removeFirst() }
    due = pending.isEmpty ? now + reply.interval : now
  }

  /// The next tracker is tried, after a while.
  package mutating func failed(now: Instant) {
    isAsking = false
    trackerID = nil
    // There is no time for a second try.
    if pending.last == .stopped { pending = [] }
    current = (current + 1) % max(trackers.count, 1)
    due = now + pause
    pause = min(pause * 2, Self.longestPause)
  }
}
