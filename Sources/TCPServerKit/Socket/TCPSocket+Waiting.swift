// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// The blocking calls, for programs and threads without a loop. They poll the socket alone and never run the
/// loop; what they notice is reported by the same signals.
extension TCPSocket {
  /// Waits until the connection is made.
  ///
  /// - Parameter msec: milliseconds to wait at most; -1 waits without limit.
  /// - Returns: false when it failed or the time ran out, with the reason in ``error``. A timeout does not
  ///   end the attempt.
  @available(*, noasync, message: "It blocks its thread: use connect(to:port:timeout:)")
  @discardableResult
  public func waitForConnected(msec: Int = 30000) -> Bool {
    requireLoopThread("TCPSocket.waitForConnected(msec:)")
    let deadline = deadline(msec)
    while currentState == .hostLookup || currentState == .connecting {
      guard !finishFailedAttempt(), let attempt = existingDetails?.attempt else { return false }
      let limit = [deadline, attempt.deadline].compactMap(\.self).min()
      switch SystemCalls.waitForAny(attempt.awaited, until: limit) {
      case .failed(let errnum):
        record(Failure(CSC_CALL_READ, errno: errnum))
        return false
      case .value(0) where deadline.map { $0 <= .now } ?? false:
        record(.timedOut)
        return false
      case .value:
        continueAttempt()
      }
    }
    return currentState == .connected
  }

  /// Waits until new data has arrived, and sends what is held meanwhile.
  ///
  /// - Parameter msec: milliseconds to wait at most; -1 waits without limit.
  /// - Returns: true for new data only, whatever was left unread before. False when the time ran out
  ///   (``SocketError/socketTimeout``, the socket stays open), the connection failed, or the peer has ended its side
  ///   (``SocketError/remoteHostClosed``): then the socket is not ``SocketState/connected`` any more. Without handlers
  ///   it is ``SocketState/closing``, and writing is still possible.
  @available(*, noasync, message: "It blocks its thread: use read(maxLength:timeout:)")
  @discardableResult
  public func waitForReadyRead(msec: Int = 30000) -> Bool {
    requireLoopThread("TCPSocket.waitForReadyRead(msec:)")
    let deadline = deadline(msec)
    guard becomesConnected(by: deadline) else { return false }
    while currentState == .connected {
      guard !flags.contains(.inputEnded) else {
        record(.remoteHostClosed)
        return false
      }
      let waited = waitOnce(until: deadline)
      if waited.contains(.received) { return true }
      if waited.contains(.gaveUp) { return false }
    }
    return false
  }

  /// Waits until at least one written byte has gone to the kernel.
  ///
  /// - Parameter msec: milliseconds to wait at most; -1 waits without limit.
  /// - Returns: true when bytes went out that ``bytesWritten`` had not reported yet; false when nothing is held,
  ///   the time ran out or the connection failed.
  @available(*, noasync, message: "It blocks its thread: use waitUntilWritten(timeout:)")
  @discardableResult
  public func waitForBytesWritten(msec: Int = 30000) -> Bool {
    requireLoopThread("TCPSocket.waitForBytesWritten(msec:)")
    let deadline = deadline(msec)
    guard becomesConnected(by: deadline) else { return false }
    // Within a handler of bytesWritten, what was sent before the call does not count.
    let known = flags.contains(.inBytesWritten) ? unreportedWritten : 0
    while unreportedWritten <= known {
      guard sendable > 0 else { return false }
      let waited = waitOnce(until: deadline)
      if waited.contains(.sent) { return true }
      if waited.contains(.gaveUp) { return false }
    }
    announceWritten()
    return true
  }

  /// Waits until the connection has ended, and sends what is held meanwhile. What arrived stays readable.
  ///
  /// - Parameter msec: milliseconds to wait at most; -1 waits without limit.
  /// - Returns: true when the connection has ended, be it before the call; false when the time ran out or
  ///   there never was a connection.
  @available(*, noasync, message: "It blocks its thread: use closeGracefully(timeout:)")
  @discardableResult
  public func waitForDisconnected(msec: Int = 30000) -> Bool {
    requireLoopThread("TCPSocket.waitForDisconnected(msec:)")
    let deadline = deadline(msec)
    guard flags.contains(.hasEnded) || becomesConnected(by: deadline) else { return false }
    while currentState != .unconnected {
      if flags.contains(.inputEnded) && currentState == .connected {
        announceEndOfInput()
        disconnectFromHost()
        continue
      }
      if waitOnce(until: deadline).contains(.gaveUp) {
        return false
      }
    }
    return true
  }

  // MARK: -

  private struct Waited: OptionSet {
    var rawValue: UInt8
    static let received = Waited(rawValue: 1)
    static let sent = Waited(rawValue: 2)
    static let gaveUp = Waited(rawValue: 4)
  }

  private func deadline(_ msec: Int) -> ContinuousClock.Instant? {
    msec < 0 ? nil : .now + Duration.milliseconds(msec).limited
  }

  private func becomesConnected(by deadline: ContinuousClock.Instant?) -> Bool {
    if currentState == .hostLookup || currentState == .connecting {
      let rest = deadline.map { ($0 - .now) / .milliseconds(1) }
      return waitForConnected(msec: rest.map { max(Int($0), 0) } ?? -1)
    }
    guard currentState != .unconnected else {
      record(Failure(.unknown, "Socket is not connected"))
      return false
    }
    return true
  }

  /// What a wait has found; nil, with the reason recorded, when the time ran out or the kernel would not wait.
  private func events(of outcome: SystemCalls.Outcome) -> CInt? {
    switch outcome {
    case .value(0):
      record(.timedOut)
      return nil
    case .value(let events):
      return CInt(events)
    case .failed(let errnum):
      record(Failure(CSC_CALL_READ, errno: errnum))
      return nil
    }
  }

  /// One poll, and whatever it allows.
  private func waitOnce(until deadline: ContinuousClock.Instant?) -> Waited {
    let lingering = flags.contains(.lingering)
    let reads =
      !flags.contains(.inputEnded) && (lingering || roomForInput > 0 && currentState == .connected)
    if reads, !lingering, transportSlot?.transport.hasBufferedInput ?? false { return receiveWaited() }
    let interest = (reads ? POLLIN : 0) | (sendable == 0 ? 0 : POLLOUT)
    let (now, wait) = (Clocks.monotonic(), nextLook)
    let look = wait.map { ContinuousClock.now + .nanoseconds($0) }
    let limit = [deadline, look].compactMap(\.self).min()
    // With both sides ended, a hang-up would end every poll at once.
    let hangsUp = flags.contains(.inputEnded) && (lingering || flags.contains(.writeEnded))
    let awaited = interest == 0 && hangsUp ? -1 : descriptor
    let outcome = SystemCalls.wait(for: awaited, interest, until: limit)
    if case .value(0) = outcome, let wait, limit != deadline {
      lookAtClosing(at: now + wait)
      return []
    }
    guard let events = events(of: outcome) else { return .gaveUp }
    if lingering {
      continueLingering()
      return []
    }
    if !reads && sendable == 0 {
      lookForReset()
      return []
    }
    // Input first, as Qt does: a handler may write in answer to it.
    var waited: Waited = []
    if reads && events & (POLLIN | POLLHUP | POLLERR) != 0 {
      waited = receiveWaited()
    }
    if events & POLLOUT != 0 && sendable > 0 {
      let before = unreportedWritten
      sendHeldBytes()
      if unreportedWritten > before { waited.insert(.sent) }
      announceWritten()
      finishClosingIfSent()
    }
    return waited
  }

  private func receiveWaited() -> Waited {
    switch receiveIntoQueue() {
    case .bytes:
      announceInput()
      return .received
    case .nothing:
      return []
    case .end:
      if flags.contains(.wantsInput) {
        endOfInput()
      } else {
        record(.remoteHostClosed)
      }
      return []
    case .failed(let errnum):
      connectionFailed(failure(of: CSC_CALL_READ, errnum))
      return []
    }
  }
}
