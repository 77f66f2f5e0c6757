// SPDX-License-Identifier: Apache-2.0

/// How long a peer has made no progress: it has acknowledged no byte. Timeouts that a slow peer must not run into
/// are measured by it. In nanoseconds of the loop's clock: one begins with each connection that is closed.
struct PeerSilence {
  private var limit: Int64
  /// What is added to the limit for a peer whose kernel still answers: it is there, and its program may come back.
  private var patience: Int64
  /// What was acknowledged at the last look; nil before the first.
  private var acknowledged: UInt64?
  /// The peer has got everything, and its end alone is awaited.
  private(set) var isOfEnd = false
  private var since = Clocks.monotonic()

  /// Begins to measure at the first look, which saves asking the kernel where the wait is nearly always short.
  init(ofClosing limit: Int64) {
    self.limit = limit
    patience = limit / 2
  }

  /// Begins to measure now.
  init(of descriptor: CInt, limit: Duration) {
    self.limit = limit.nanoseconds
    patience = 0
    acknowledged = SystemCalls.acknowledgedBytes(descriptor)
    // After the kernel was asked: silence is what follows its answer.
    since = Clocks.monotonic()
  }

  /// In how long to look next. More often than at the end, because a look finds that there was progress, but not when.
  var nextLook: Int64 {
    max(min(limit / 8, since + limit - Clocks.monotonic()), 1_000_000)
  }

  /// Looks whether the peer has been silent for the whole limit.
  ///
  /// - Parameter time: from before the kernel is asked: what the peer does in between counts, however late this thread
  ///   goes on.
  mutating func isOver(_ descriptor: CInt, at time: Int64 = Clocks.monotonic()) -> Bool {
    let now = SystemCalls.acknowledgedBytes(descriptor)
    guard now == acknowledged else {
      acknowledged = now
      progress()
      return false
    }
    guard time - since >= limit else { return false }
    guard patience > 0, let traffic = SystemCalls.traffic(descriptor),
      traffic.sinceAcknowledged < .nanoseconds(Clocks.monotonic() - since)
    else { return true }
    limit += exchange(&patience, with: 0)
    return false
  }

  /// The peer has shown in another way that it is there.
  mutating func progress() {
    if !isOfEnd { since = Clocks.monotonic() }
  }

  /// The peer has got everything, and has this long for its own end, whatever it sends meanwhile.
  mutating func awaitEnd(for time: Duration) {
    guard !isOfEnd else { return }
    limit = min(limit, time.nanoseconds)
    patience = 0
    progress()
    isOfEnd = true
  }
}

/// Looks at a peer from time to time, until it has been silent for too long.
final class PeerSilenceTimer {
  private let socket: TCPSocket
  private var silence: PeerSilence
  private let whenOver: () -> Void
  private var timer: LoopTimer?

  init(_ engine: EventEngine, _ socket: TCPSocket, limit: Duration, _ whenOver: @escaping () -> Void) {
    self.socket = socket
    self.whenOver = whenOver
    silence = PeerSilence(of: socket.descriptor, limit: limit)
    timer = LoopTimer(engine, after: .nanoseconds(silence.nextLook)) { [weak self] in self?.look() }
  }

  private func look() {
    if silence.isOver(socket.descriptor) {
      whenOver()
    } else {
      timer?.restart(after: .nanoseconds(silence.nextLook))
    }
  }
}
