// SPDX-License-Identifier: Apache-2.0

/// A connection under the policy of its server; see ``ConnectionPolicy``.
extension TCPSocket {
  /// Whether the connection has reached the maximum age of its server's ``ConnectionPolicy``, and is to end soon.
  ///
  /// A handler that answers one request after the other says so with its next answer, in HTTP by `Connection: close`, and
  /// returns.
  public var isPastMaximumAge: Bool {
    requireLoopThread("TCPSocket.isPastMaximumAge")
    return isBeyondMaximumAge
  }

  /// Emitted when the connection reaches the maximum age of its server's ``ConnectionPolicy``: the handlers have
  /// ``ConnectionPolicy/grace`` to end it.
  public var maximumAgeReached: Signal<Void> {
    requireLoopThread("TCPSocket.maximumAgeReached")
    if let existing = origin.maximumAgeReached { return existing }
    let signal = Signal<Void>(on: confinement)
    origin.maximumAgeReached = signal
    return signal
  }

  /// For code that is on the loop already.
  var isBeyondMaximumAge: Bool {
    existingDetails?.origin?.isPastMaximumAge ?? false
  }

  // MARK: - In the list of the loop

  /// The connection is delivered by a server that has a policy.
  func beginPolicy() {
    guard let engine, let loop = context.loop, let rules = context.connectionRules else { return }
    // A connection may become a socket on another thread than its loop's.
    guard mayTouch else { return engine.post(.closure { self.beginPolicy() }) }
    guard descriptor >= 0, currentState != .unconnected else { return }
    loop.deadlines.begin(self, rules)
  }

  func leavePolicy() {
    unsafe context.loop?.deadlines.forget(descriptor, Unmanaged.passUnretained(self).toOpaque())
  }

  // MARK: - Looking

  enum Finding: Equatable {
    case nothing
    /// It is to end, and its handler to learn of it.
    case maximumAge
    /// It is past a limit.
    case over(SocketError)
  }

  /// Looks whether the connection is past a limit, and when to look next. Calls nothing of the program.
  func look(
    at deadline: inout ConnectionDeadline,
    by rules: ConnectionRules,
    _ now: UInt32
  ) -> Finding {
    var next = Ticks.most
    var finding = Finding.nothing
    if rules.maximumAge != nil, deadline.end != 0 {
      let rest = Int32(bitPattern: deadline.end &- now)
      if rest > 0 {
        next = UInt32(rest)
      } else if isBeyondMaximumAge {
        return .over(.ageLimit)
      } else {
        finding = .maximumAge
        deadline.awaitsFirstByte = false
        deadline.end = max(Ticks.after(rules.grace, from: now), 1)
        next = rules.grace &+ 1
      }
    }
    if deadline.end != 0, isBeyondMaximumAge || finding == .maximumAge {
      // It may come to be between two messages.
      next = min(next, Ticks.atLeast(Self.silenceBetweenMessages))
    }
    if rules.firstLook != nil, !isUnix, let traffic = SystemCalls.traffic(descriptor) {
      if let reason = judge(traffic, &deadline, by: rules, now, &next) { return .over(reason) }
    }
    deadline.setDue(in: max(next, 1), from: now)
    return finding
  }

  /// - Parameter next: in how many ticks to look next; becomes less where a limit comes before.
  /// - Returns: the limit that the connection is past.
  private func judge(
    _ traffic: SystemCalls.Traffic,
    _ deadline: inout ConnectionDeadline,
    by rules: ConnectionRules,
    _ now: UInt32,
    _ next: inout UInt32
  ) -> SocketError? {
    let moved = UInt32(truncatingIfNeeded: traffic.bytesReceived &+ traffic.bytesAcknowledged)
    let window = Ticks.after(Ticks.atLeast(rules.window), from: 0)
    let rested = !deadline.awaitsFirstByte && deadline.owed == .nothing && deadline.mark == moved
    if deadline.awaitsFirstByte {
      if rules.firstByte != nil, hasSentNothing(traffic) {
        let rest = Int32(bitPattern: deadline.mark &- now)
        guard rest > 0 else { return .firstByteTimeout }
        next = min(next, UInt32(rest), rules.bytesOfWindow == nil ? Ticks.most : 2 * window)
        return nil
      }
      deadline.awaitsFirstByte = false
      deadline.mark = moved
    }
    var waiting = held
    if !traffic.isAllAcknowledged {
      waiting += max(SystemCalls.unacknowledgedBytes(descriptor) - (traffic.hasEndOnItsWay ? 1 : 0), 0)
    }
    if isIdle(traffic, waiting, hasMoved: moved != deadline.mark, &deadline, by: rules, &next) {
      return .idleTimeout
    }
    guard let bytes = rules.bytesOfWindow else {
      deadline.mark = moved
      return nil
    }
    let owed = owed(traffic, waiting, within: rules.window)
    if isTooSlow(deadline, moved, owed, traffic, rules.window) { return .tooSlow }
    // With a look before the window is over, it would be judged before its time.
    deadline.owed = next < window ? .nothing : owed
    deadline.mark = moved &+ Self.goal(deadline.owed, waiting, bytes)
    // Of many connections most rest, and a look costs a microsecond.
    next = min(next, rested && owed == .nothing ? 2 * window : window)
    return nil
  }

  private func isIdle(
    _ traffic: SystemCalls.Traffic,
    _ waiting: Int,
    hasMoved: Bool,
    _ deadline: inout ConnectionDeadline,
    by rules: ConnectionRules,
    _ next: inout UInt32
  ) -> Bool {
    guard let idle = rules.idle else { return false }
    let silence = waiting == 0 ? min(traffic.sinceReceived, traffic.sinceSent) : traffic.sinceReceived
    if silence < idle {
      deadline.isQuiet = false
      next = min(next, Ticks.after(Ticks.atLeast(idle - silence + Ticks.kernelStep), from: 0))
    } else if waiting == 0 || traffic.sinceAcknowledged >= idle {
      return true
    } else if rules.bytesOfWindow == nil {
      let wait = Ticks.after(Ticks.atLeast(idle), from: 0)
      if deadline.isQuiet && !hasMoved { return true }
      deadline.isQuiet = next >= wait
      next = min(next, wait)
    }
    return false
  }

  // MARK: - The rate

  /// What the peer has to do now.
  private func owed(
    _ traffic: SystemCalls.Traffic,
    _ waiting: Int,
    within window: Duration
  ) -> ConnectionDeadline.Owed {
    if waiting > 0 { return .taking }
    if currentState == .closing { return flags.contains(.inputEnded) ? .nothing : .sending }
    guard !flags.contains(.inputEnded), traffic.bytesOfPeer > 0 else { return .nothing }
    // What has come and was not read yet is not the peer's to send.
    return isWithinMessage(traffic, window) && SystemCalls.unreadBytes(descriptor) == 0 ? .sending : .nothing
  }

  private func isWithinMessage(_ traffic: SystemCalls.Traffic, _ window: Duration) -> Bool {
    let reads = existingWaiters?.reader.isWaiting ?? false
    if let existingWaiters, existingWaiters.knowsMessages, existingDetails?.relay == nil {
      return reads && !existingWaiters.isBetweenMessages
    }
    return (reads || flags.contains(.wantsInput)) && traffic.sinceReceived < traffic.sinceSent
      && traffic.sinceReceived < window / 2
  }

  /// Whether the peer was to send or take more since the last look, and has not.
  private func isTooSlow(
    _ deadline: ConnectionDeadline,
    _ moved: UInt32,
    _ owed: ConnectionDeadline.Owed,
    _ traffic: SystemCalls.Traffic,
    _ window: Duration
  ) -> Bool {
    guard Int32(bitPattern: moved &- deadline.mark) < 0 else { return false }
    return switch deadline.owed {
    case .nothing: false
    // Then some of what waited still waits: fewer than that have moved.
    case .taking: true
    case .sending where owed != .sending: false
    // A peer that is silent now is limited by `deliveryTimeout`.
    case .sending where currentState == .closing: traffic.sinceReceived < window
    // An answer would have ended the message.
    case .sending: traffic.sinceSent >= window
    }
  }

  private static func goal(_ owed: ConnectionDeadline.Owed, _ waiting: Int, _ bytes: UInt32) -> UInt32 {
    switch owed {
    case .nothing: 0
    case .taking: min(UInt32(clamping: waiting), bytes)
    case .sending: bytes
    }
  }

  // MARK: - Ending

  /// The handlers learn that the connection is to end.
  func reachMaximumAge() {
    origin.isPastMaximumAge = true
    endIfBetweenMessages()
    existingDetails?.origin?.maximumAgeReached?.notify()
  }

  /// The connection is past a limit of its server's policy.
  func cut(for reason: SocketError) {
    if flags.contains(.lingering) && !hasUndelivered { return becomeUnconnected() }
    let waitsForPeer = existingWaiters?.reader.isWaiting ?? false || flags.contains(.wantsInput)
    let mayEndInOrder = reason == .firstByteTimeout || reason == .idleTimeout
    let endsInOrder = mayEndInOrder && waitsForPeer && !hasUndelivered
    // Half a line is not to look like the last one.
    dropInput()
    connectionFailed(Failure(reason, reason.description), resetting: !endsInOrder)
  }
}
