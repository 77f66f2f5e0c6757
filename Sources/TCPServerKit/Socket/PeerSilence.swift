/// How long a peer has made no progress: it has acknowledged no byte. Timeouts that a slow peer must not run into
/// are measured by it.
struct PeerSilence {
  private let limit: Duration
  /// What was acknowledged at the last look; nil before the first.
  private var acknowledged: UInt64?
  private var since = ContinuousClock.now

  /// Begins to measure at the first look, which saves asking the kernel where the wait is nearly always short.
  init(limit: Duration) {
    self.limit = limit.limited
  }

  /// Begins to measure now.
  init(of descriptor: CInt, limit: Duration) {
    self.limit = limit.limited
    acknowledged = SystemCalls.acknowledgedBytes(descriptor)
  }

  /// When to look next. More often than at the end, because a look finds that there was progress, but not when.
  var nextLook: Duration {
    max(min(limit / 8, since + limit - .now), .milliseconds(1))
  }

  /// Looks whether the peer has been silent for the whole limit.
  mutating func isOver(_ descriptor: CInt) -> Bool {
    let now = SystemCalls.acknowledgedBytes(descriptor)
    guard now == acknowledged else {
      acknowledged = now
      progress()
      return false
    }
    return .now - since >= limit
  }

  /// The peer has shown in another way that it is there.
  mutating func progress() {
    since = .now
  }
}
