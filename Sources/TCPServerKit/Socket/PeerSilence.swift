// SPDX-License-Identifier: Apache-2.0

/// How long a peer has made no progress: it has acknowledged no byte. Timeouts that a slow peer must not run into
/// are measured by it.
struct PeerSilence {
  private var limit: Duration
  /// What is added to the limit for a peer whose kernel still answers: it is there, and its program may come back.
  private var patience: Duration
  /// What was acknowledged at the last look; nil before the first.
  private var acknowledged: UInt64?
  /// The peer has got everything, and its end alone is awaited.
  private(set) var isOfEnd = false
  private var since = ContinuousClock.now

  /// Begins to measure at the first look, which saves asking the kernel where the wait is nearly always short.
  init(ofClosing limit: Duration) {
    self.limit = limit.limited
    patience = self.limit / 2
  }

  /// Begins to measure now.
  init(of descriptor: CInt, limit: Duration) {
    self.limit = limit.limited
    patience = .zero
    acknowledged = SystemCalls.acknowledgedBytes(descriptor)
    // After the kernel was asked: silence is what follows its answer.
    since = .now
  }

  /// When to look next. More often than at the end, because a look finds that there was progress, but not when.
  var nextLook: Duration {
    max(min(limit / 8, since + limit - .now), .milliseconds(1))
  }

  /// Looks whether the peer has been silent for the whole limit.
  ///
  /// - Parameter time: from before the kernel is asked: what the peer does in between counts, however late this thread
  ///   goes on.
  mutating func isOver(_ descriptor: CInt, at time: ContinuousClock.Instant = .now) -> Bool {
    let now = SystemCalls.acknowledgedBytes(descriptor)
    guard now == acknowledged else {
      acknowledged = now
      progress()
      return false
    }
    guard time - since >= limit else { return false }
    guard patience > .zero, let traffic = SystemCalls.traffic(descriptor),
      traffic.sinceAcknowledged < .now - since
    else { return true }
    limit += exchange(&patience, with: .zero)
    return false
  }

  /// The peer has shown in another way that it is there.
  mutating func progress() {
    if !isOfEnd { since = .now }
  }

  /// The peer has got everything, and has this long for its own end, whatever it sends meanwhile.
  mutating func awaitEnd(for time: Duration) {
    guard !isOfEnd else { return }
    limit = min(limit, time)
    patience = .zero
    progress()
    isOfEnd = true
  }
}
