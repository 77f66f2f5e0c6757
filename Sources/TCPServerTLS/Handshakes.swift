// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// The connections of a server that are not encrypted yet: their order, their deadline, and their turns. Used on the
/// server's loop alone.
final class Handshakes {
  var timeout: Duration = .seconds(5) { didSet { endExpired() } }
  var limit = 1024 { didSet { dropSurplus() } }
  /// How many steps are made between two looks at the sockets: one may cost as much as a signature.
  var stepsPerTurn = 4
  /// What makes the steps; nil for this loop.
  var threads: SSLHandshakeThreads?
  private var counts = HandshakeStatistics()
  private var list = HandshakeList()
  /// Those that can continue.
  private var queue = FirstInFirstOut<Handshake>()
  private var isScheduled = false
  private let timer: EventTimer
  /// Nil until there is a rate.
  private var pace: HandshakePace?
  private weak var eventBase: EventBase?
  /// Nil while it is released.
  weak var server: SSLServer?

  init(on eventBase: EventBase?) {
    self.eventBase = eventBase
    timer = EventTimer(interval: timeout, isSingleShot: true, eventBase: eventBase)
    timer.timeout.connect { [unowned self] in endExpired() }
  }

  var statistics: HandshakeStatistics {
    var statistics = counts
    statistics.current = list.count
    statistics.ratePauses = pace?.pauses ?? 0
    return statistics
  }

  /// How many begin in a second.
  var rate: AcceptRate? {
    get { pace?.rate }
    set {
      if pace == nil, newValue != nil {
        pace = HandshakePace(on: eventBase) { [unowned self] in hasItsTurn($0) }
      }
      pace?.rate = newValue
    }
  }

  /// - Returns: whether it has begun, and is still there.
  func begin(_ socket: TCPSocket, _ transport: SSLTransport) -> Bool {
    // One of those that were there before.
    let expendable = list.count >= max(limit, 1) ? list.mostExpendable : nil
    guard let handshake = add(socket, transport) else { return false }
    // Last: a handler may close the server, which ends the new one, too.
    if let expendable { drop(expendable) }
    return !handshake.isOver
  }

  private func drop(_ handshake: Handshake) {
    guard !handshake.isOver else { return }
    counts.dropped += 1
    giveUp(handshake, .socketResource, "Too many handshakes")
    server?.handshakeGivenUp(handshake, .socketResource)
  }

  private func dropSurplus() {
    while list.count > max(limit, 1), let expendable = list.mostExpendable { drop(expendable) }
  }

  /// - Returns: nil where the connection is over.
  private func add(_ socket: TCPSocket, _ transport: SSLTransport) -> Handshake? {
    let handshake = Handshake(socket, transport, .now, of: self)
    let refusal = socket.beginHandshake(of: transport, isReading: true, observer: handshake)
    // The peer has reset it already.
    guard refusal == nil else {
      counts.failed += 1
      socket.abort()
      return nil
    }
    if let threads, transport.mayBeLent, let inbox = server?.loopInbox {
      HandshakeLoan.lend(handshake, to: threads, from: inbox)
    }
    list.append(handshake)
    changed()
    if !timer.isActive { start(timeout) }
    return handshake
  }

  private func changed() {
    pace?.forgetEnded(list.count)
    server?.setUndelivered(list.count)
  }

  // MARK: - Turns

  func isReady(_ handshake: Handshake) {
    list.hasSpoken(handshake)
    // While the program is asked, what comes can wait.
    guard !handshake.isQueued, !handshake.waitsForAnswer, handshake.transport.holder == .none else { return }
    if pace?.mayBegin(handshake) == false {
      handshake.transport.waitForTurn()
      return handshake.socket.continueHandshake()
    }
    goOn(handshake)
  }

  func needsAnswer(_ handshake: Handshake) {
    switch handshake.transport.holder {
    case .none: server?.isAsked(about: handshake)
    case .queue: hasItsTurn(handshake)
    case .rate, .thread: break
    }
  }

  private func hasItsTurn(_ handshake: Handshake) {
    handshake.transport.goOn()
    goOn(handshake)
  }

  private func goOn(_ handshake: Handshake) {
    // A rate that is set later does not stop it.
    handshake.hasBegun = true
    // Little of it is done here then.
    if handshake.transport.lend != nil { return handshake.socket.continueHandshake() }
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
    for _ in 0..<max(stepsPerTurn, 1) {
      guard let handshake = queue.popFirst() else { break }
      handshake.isQueued = false
      if !handshake.isOver { handshake.socket.continueHandshake() }
    }
    if queue.count > 0 { schedule(later: true) }
  }

  // MARK: - Ends

  func ended(_ handshake: Handshake, _ failure: SocketError?) {
    guard list.remove(handshake) else { return }
    if failure == nil {
      counts.completed += 1
      if handshake.transport.isResumed { counts.resumed += 1 }
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
    case .closedSilently: counts.closedSilently += 1
    case .notTLS: counts.notTLS += 1
    default: counts.failed += 1
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
      counts.closed += 1
      end(first)
    }
    timer.stop()
    pace?.stop()
  }

  /// Ends those whose time is over.
  private func endExpired() {
    while let first = list.first {
      let left = first.beginning + timeout - .now
      guard left <= .zero else { return start(left) }
      counts.timedOut += 1
      giveUp(first, .socketTimeout, "The handshake took too long")
      server?.handshakeGivenUp(first, .socketTimeout)
    }
  }

  private func start(_ interval: Duration) {
    timer.interval = interval
    timer.start()
  }
}
