// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// The connections of a server that are not encrypted yet: their order, their deadline, and their turns. Used on the
/// server's loop alone.
final class Handshakes {
  var timeout: Duration = .seconds(5) { didSet { endExpired() } }
  var limit = 1024
  /// How many steps are made between two looks at the sockets: one may cost as much as a signature.
  var stepsPerTurn = 4
  private(set) var statistics = HandshakeStatistics()
  private var list = HandshakeList()
  /// Those that can continue; the first is at `begun`.
  private var queue: [Handshake] = []
  private var begun = 0
  private var isScheduled = false
  private let timer: EventTimer
  /// Nil while it is released.
  weak var server: SSLServer?

  init(on eventBase: EventBase?) {
    timer = EventTimer(interval: timeout, isSingleShot: true, eventBase: eventBase)
    timer.timeout.connect { [unowned self] in endExpired() }
  }

  /// - Returns: whether it has begun.
  func begin(_ socket: TCPSocket, _ transport: SSLTransport) -> Bool {
    let dropped = list.count >= max(limit, 1) ? list.oldestSilent : nil
    if let dropped {
      statistics.dropped += 1
      giveUp(dropped, .socketResource, "Too many handshakes")
    }
    let hasBegun = beginWithRoom(socket, transport)
    // Last: a handler may close the server, which ends this one, too.
    if let dropped { server?.handshakeGivenUp(dropped, .socketResource) }
    return hasBegun
  }

  private func beginWithRoom(_ socket: TCPSocket, _ transport: SSLTransport) -> Bool {
    let handshake = Handshake(socket, transport, .now)
    let refusal = socket.beginHandshake(
      of: transport,
      isReading: true,
      onReady: { [unowned self, unowned handshake] in isReady(handshake) },
      onQuestion: { [unowned self, unowned handshake] in server?.isAsked(about: handshake) },
      onEnd: { [unowned self] in ended(handshake, $0) }
    )
    // The peer has reset it already.
    guard refusal == nil else {
      statistics.failed += 1
      socket.abort()
      return false
    }
    list.append(handshake)
    changed()
    if !timer.isActive { start(timeout) }
    return true
  }

  private func changed() {
    statistics.current = list.count
    server?.setUndelivered(list.count)
  }

  // MARK: - Turns

  private func isReady(_ handshake: Handshake) {
    handshake.hasSpoken = true
    // While the program is asked, what comes can wait.
    guard !handshake.isQueued, !handshake.waitsForAnswer else { return }
    handshake.isQueued = true
    queue.append(handshake)
    schedule(later: false)
  }

  private func schedule(later: Bool) {
    guard !isScheduled else { return }
    isScheduled = true
    server?.schedule(afterNextTurn: later) { [weak self] in self?.continueQueued() }
  }

  private func continueQueued() {
    isScheduled = false
    for _ in 0..<min(max(stepsPerTurn, 1), queue.count - begun) {
      let handshake = queue[begun]
      begun += 1
      handshake.isQueued = false
      if !handshake.isOver { handshake.socket.continueHandshake() }
    }
    if begun == queue.count || begun > 1024 {
      queue.removeFirst(begun)
      begun = 0
    }
    if begun < queue.count { schedule(later: true) }
  }

  // MARK: - Ends

  private func ended(_ handshake: Handshake, _ failure: SocketError?) {
    guard list.remove(handshake) else { return }
    if failure == nil {
      statistics.completed += 1
      if handshake.transport.isResumed { statistics.resumed += 1 }
      // Before the count falls: a server that has finished waits for what is to be delivered.
      server?.deliver(handshake.socket)
    } else {
      count(handshake.transport.error?.reason)
      server?.handshakeFailed(handshake)
    }
    changed()
  }

  private func count(_ reason: SSLError.Reason?) {
    switch reason {
    case .closedSilently: statistics.closedSilently += 1
    case .notTLS: statistics.notTLS += 1
    default: statistics.failed += 1
    }
  }

  /// Ends one for a reason that has been counted.
  private func end(_ handshake: Handshake) {
    guard list.remove(handshake) else { return }
    handshake.socket.abort()
    changed()
  }

  /// The same, for a reason that the program learns.
  private func giveUp(_ handshake: Handshake, _ error: SocketError, _ text: String) {
    guard list.remove(handshake) else { return }
    handshake.socket.giveUpHandshake(error, text)
    changed()
  }

  func endAll() {
    while let first = list.first {
      statistics.closed += 1
      end(first)
    }
  }

  /// Ends those whose time is over.
  private func endExpired() {
    while let first = list.first {
      let left = first.beginning + timeout - .now
      guard left <= .zero else { return start(left) }
      statistics.timedOut += 1
      giveUp(first, .socketTimeout, "The handshake took too long")
      server?.handshakeGivenUp(first, .socketTimeout)
    }
  }

  private func start(_ interval: Duration) {
    timer.interval = interval
    timer.start()
  }
}
