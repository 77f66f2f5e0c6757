/// The last part of an orderly end: the kernel has every byte, and the peer is waited for.
///
/// The sending side is shut down first. A connection that is closed before the peer has ended its own side would be
/// reset by the next byte that the peer sends, and the reset may destroy what the peer has not read yet.
extension TCPSocket {
  /// A peer that has ended its side is left to the kernel to deliver this much to.
  private static let smallRest = 16384

  func finishClosingIfSent() {
    guard isClosingWithAllSent else { return }
    // Before the socket announces that it has disconnected. A handler may write still more.
    announceWritten()
    guard isClosingWithAllSent else { return }
    if flags.contains(.writeBroken) || hasPeerEndedWithAll() {
      becomeUnconnected()
    } else {
      startLingering()
    }
  }

  private var isClosingWithAllSent: Bool {
    currentState == .closing && output == nil && !flags.contains(.lingering)
  }

  /// Whether the peer has ended its side, and has or will get what was written. Throws away what it has sent before.
  private func hasPeerEndedWithAll() -> Bool {
    if !flags.contains(.inputEnded) {
      let outcome = SystemCalls.discardInput(descriptor, atMost: 1 << 30)
      guard case .value(0) = outcome else { return false }
      flags.insert(.inputEnded)
    }
    return !flags.contains(.wroteMuch) || SystemCalls.unacknowledgedBytes(descriptor) <= Self.smallRest
  }

  private func startLingering() {
    SystemCalls.endWriting(descriptor)
    flags.insert(.lingering)
    if flags.contains(.hurried) && !hasUndelivered {
      return becomeUnconnected()
    }
    limitSilence()
    existingWaiters?.existingSettings?.state.wakeAll()
  }

  /// Begins to measure how long the peer is silent.
  func limitSilence() {
    details.closingSilence = PeerSilence(ofClosing: deliveryTimeout)
    if flags.contains(.lingering) {
      updateReadWatch()
      armLingering()
    } else {
      armWriteTimer()
    }
  }

  /// When the next look at a closing connection is due.
  var nextLook: Duration? {
    guard let silence = existingDetails?.closingSilence else { return nil }
    // Without a loop, and at the end of a server, the acknowledgement of the last byte brings no event.
    let isSoon = flags.contains(.hurried) || flags.contains(.inputEnded)
    return isSoon ? min(silence.nextLook, .milliseconds(20)) : silence.nextLook
  }

  /// Looks whether the peer of a closing connection makes progress; ends the connection when it has not for too long.
  func lookAtClosing() {
    guard var silence = existingDetails?.closingSilence, descriptor >= 0 else { return }
    let isOver = silence.isOver(descriptor)
    details.closingSilence = silence
    let waitsForMore = flags.isDisjoint(with: [.hurried, .inputEnded])
    if flags.contains(.lingering) && !waitsForMore && !hasUndelivered {
      return becomeUnconnected()
    }
    guard isOver else { return }
    if hasUndelivered {
      let failure = Failure(.socketTimeout, "The peer did not take in time what was written")
      connectionFailed(failure, resetting: true)
    } else {
      becomeUnconnected()
    }
  }

  /// Throws away what has come since; ends the connection when the peer has ended its side.
  func continueLingering(timedOut: Bool = false) {
    if timedOut {
      lookAtClosing()
    } else if flags.contains(.inputEnded) {
      if !hasUndelivered { becomeUnconnected() }
    } else {
      let outcome = SystemCalls.discardInput(descriptor, atMost: 1 << 30)
      switch outcome {
      case .value(0): peerEndedWhileLingering()
      case .value: existingDetails?.closingSilence?.progress()
      case .failed where outcome.wouldBlock: break
      case .failed: lingeringBroke()
      }
    }
    if flags.contains(.lingering) { armLingering() }
  }

  private func peerEndedWhileLingering() {
    flags.insert(.inputEnded)
    if flags.contains(.wroteMuch) && hasUndelivered {
      existingDetails?.closingSilence?.progress()
      updateReadWatch()
    } else {
      becomeUnconnected()
    }
  }

  /// The peer has reset the connection, which is its way to end where it has got everything.
  private func lingeringBroke() {
    if hasUndelivered {
      connectionFailed(.remoteHostClosed)
    } else {
      becomeUnconnected()
    }
  }

  // MARK: - The end of a server

  /// From now on the peer's own end is not waited for, only its acknowledgement of what was written.
  func hurry() {
    guard !flags.contains(.hurried), currentState == .connected || currentState == .closing else { return }
    flags.insert(.hurried)
    if flags.contains(.lingering) {
      lookAtClosing()
      if flags.contains(.lingering) { armLingering() }
    }
  }

  /// Calls ``hurry()`` for the closing connections of a server.
  static func hurryClosing(of context: SocketContext) {
    guard let engine = context.engine else { return }
    for socket in unsafe watched(on: engine.base)
    where socket.context === context && socket.currentState == .closing {
      socket.hurry()
    }
  }
}
