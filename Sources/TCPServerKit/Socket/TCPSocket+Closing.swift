// SPDX-License-Identifier: Apache-2.0

/// Ways for a connection to end.
extension TCPSocket {
  /// How long the peer may make no progress while the connection is being closed; 30 seconds at first.
  ///
  /// Progress is a byte that the peer acknowledges or sends. A peer that makes some is waited for, however long all of
  /// it takes. One that makes none, but whose kernel still answers, as it does for a program that pauses in its reading,
  /// is once given half as long again. After that silence a connection whose peer has not got everything is reset, with
  /// ``SocketError/socketTimeout``; where only the peer's own end is missing, it ends in order.
  ///
  /// ``TCPServer/deliveryTimeout`` sets it for the connections of a server.
  public var deliveryTimeout: Duration {
    get {
      requireLoopThread("TCPSocket.deliveryTimeout")
      return existingDetails?.deliveryTimeout ?? context.deliveryTimeout
    }
    set {
      requireLoopThread("TCPSocket.deliveryTimeout")
      details.deliveryTimeout = newValue
      if existingDetails?.closingSilence != nil { limitSilence() }
    }
  }

  /// Disconnects in order: everything written is delivered, then the connection ends.
  ///
  /// Until then the socket is ``SocketState/closing``. When the kernel has all bytes the peer sees the end of its
  /// input; what it still sends is thrown away until it has ended its own side as well, because closing before would
  /// make the kernel reset the connection and destroy what the peer has not read yet. Where the peer is known to have
  /// ended its side, and nothing is left to send, the socket is unconnected when this returns. Only a peer that makes no
  /// progress for ``deliveryTimeout`` is not waited for.
  ///
  /// A connection that is still being made is given up, unless something was written to it: then it ends once that was
  /// delivered.
  ///
  /// May be called from any thread.
  public func disconnectFromHost() {
    guard mayTouch else { return post("TCPSocket.disconnectFromHost()") { $0.disconnectFromHost() } }
    switch currentState {
    case .connected where isHandshaking:
      if output != nil { noteUndelivered() }
      becomeUnconnected()
    case .connected:
      currentState = .closing
      if let existingWaiters { existingWaiters.reader.wake(.ready)?.resume() }
      existingDetails?.stateChanged?.notify(currentState)
      finishClosingIfSent()
      if currentState == .closing && output != nil {
        updateReadWatch()
        limitSilence()
      }
    case .hostLookup, .connecting, .bound:
      if output == nil {
        becomeUnconnected()
      } else {
        flags.insert(.closesOnceConnected)
      }
    default:
      break
    }
  }

  /// Gives up what was not read, then disconnects as ``disconnectFromHost()`` does. May be called from any thread.
  public func close() {
    guard mayTouch else { return post("TCPSocket.close()") { $0.close() } }
    dropInput()
    flags.insert(.readClosed)
    disconnectFromHost()
  }

  /// Resets the connection now. What the peer has not received yet is lost, and the peer sees an error and not the end
  /// of its input.
  ///
  /// A task's read that waits, or begins later, throws ``SocketError/operation``: to it, too, what it has read is no
  /// whole. Reads that do not wait find the end.
  ///
  /// May be called from any thread.
  public func abort() {
    guard mayTouch else { return post("TCPSocket.abort()") { $0.abort() } }
    if currentState != .unconnected { waiters.isAborted = true }
    abortHere()
  }

  /// The library's own abort(), which says in another way why the connection ends.
  func abortHere() {
    dropInput()
    if hasUndelivered { noteUndelivered() }
    becomeUnconnected(resetting: true)
  }

  /// Ends the connection in order, as ``disconnectFromHost()`` does, and waits until the peer has got all that was
  /// written.
  ///
  /// The peer's own end is not waited for here but by the event base, with the socket ``SocketState/closing`` as long,
  /// whether or not the program still holds it.
  ///
  /// - Parameter timeout: how long the peer may make no progress, instead of ``deliveryTimeout``. A peer that
  ///   acknowledges bytes is waited for, however long all of it takes.
  /// - Returns: whether the peer has got everything that was written.
  ///
  /// ## Cancellation
  ///
  /// Ends the connection at once: by a reset, returning false, where the peer has not got everything yet.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @discardableResult
  public func closeGracefully(timeout: Duration? = nil) async -> Bool {
    await onLoop { await $0.closeAndWait(timeout) }
  }

  private func closeAndWait(_ timeout: Duration?) async -> Bool {
    let before = deliveryTimeout
    if let timeout { deliveryTimeout = timeout }
    // The socket may be used again.
    defer { if timeout != nil { deliveryTimeout = before } }
    disconnectFromHost()
    // The acknowledgement of the last byte brings no event.
    var pause = Duration.milliseconds(1)
    while currentState != .unconnected, let engine, !engine.hasEndedWithBody {
      let looks = flags.contains(.lingering)
      if looks && !hasUndelivered { break }
      let reason = await stateChange(within: looks ? pause : nil, engine)
      if looks { pause = min(pause * 2, .milliseconds(20)) }
      if reason == .cancelled || reason == .recheck && Task.isCancelled { endNow() }
    }
    // Without an event base it does not wait.
    let isDelivered = currentState == .unconnected || !hasUndelivered
    return isDelivered && flags.isDisjoint(with: [.undelivered, .writeBroken, .broken])
  }

  // MARK: -

  /// Waits until the peer has got what was written, unless it makes no progress for ``deliveryTimeout``. On the loop.
  func waitUntilDelivered() async {
    guard let eventBase = engine?.eventBase else { return }
    var silence = PeerSilence(of: descriptor, limit: deliveryTimeout)
    // The acknowledgement of the last byte brings no event.
    var pause = Duration.milliseconds(1)
    while output != nil || hasUndelivered, !silence.isOver(descriptor) {
      guard (try? await eventBase.sleep(for: pause)) != nil else { return }
      pause = min(pause * 2, .milliseconds(20))
    }
  }

  /// Ends a connection whose time is over: reset, unless the peer has got everything.
  func endNow() {
    if flags.contains(.lingering) && !hasUndelivered {
      becomeUnconnected()
    } else {
      abortHere()
    }
  }

  /// Whether the peer has acknowledged less than was written.
  var hasUndelivered: Bool {
    guard descriptor >= 0, currentState == .connected || currentState == .closing else { return false }
    guard !isUnix else { return output != nil }
    if bytesInPipe > 0 { return true }
    let hasEnded = flags.contains(.lingering) || flags.contains(.writeEnded) && output == nil
    return output != nil || SystemCalls.unacknowledgedBytes(descriptor) > (hasEnded ? 1 : 0)
  }

  /// Some of what was written has not reached the peer, and will not.
  func noteUndelivered() {
    guard !flags.contains(.undelivered) else { return }
    flags.insert(.undelivered)
    if flags.contains(.counted) { context.noteUndelivered() }
  }

  /// No server counts it any more.
  func releasePermit() {
    guard flags.contains(.counted) else { return }
    flags.remove(.counted)
    context.connectionEnded(from: takeSource())
  }

  /// Its place among those of its source, which someone else gives back from now on.
  func takeSource() -> UInt32 {
    existingDetails?.origin.map { exchange(&$0.source, with: 0) } ?? 0
  }

  /// Of a connection that its server counts from now on.
  func noticeBeginning() {
    if context.watchesUnused { watchLater() }
    context.noteBeginning(of: descriptor)
    if context.connectionRules != nil { beginPolicy() }
  }

  private func noticeEnd() {
    if context.hasHadRules { leavePolicy() }
    guard flags.contains(.counted) else { return }
    context.noteEnd(of: descriptor, isDelivered: !flags.contains(.undelivered))
  }

  func closeDescriptor() {
    if context.noticesConnections { noticeEnd() }
    SystemCalls.closeDescriptor(descriptor)
    descriptor = -1
    releasePermit()
    if let loop = context.loop, loop.hasOverloadedServers {
      loop.descriptorFreed()
    }
  }

  func releaseHandlers() {
    readyReadHandler = nil
    disconnectedHandler = nil
    guard let details = existingDetails else { return }
    details.readyRead?.disconnectAll()
    details.connected?.disconnectAll()
    details.stateChanged?.disconnectAll()
    details.bytesWritten?.disconnectAll()
    details.readChannelFinished?.disconnectAll()
    details.disconnected?.disconnectAll()
    details.errorOccurred?.disconnectAll()
  }

  func becomeUnconnected(resetting: Bool = false) {
    guard currentState != .unconnected else { return }
    let wasConnected = currentState == .connected || currentState == .closing
    if existingDetails?.attempt != nil { endAttempt() }
    stopWatching()
    // They are lent to the handlers of readyRead.
    if flags.contains(.inReadyRead) { saveLentBytes() }
    if descriptor >= 0 {
      if resetting { SystemCalls.resetOnClose(descriptor) }
      transportSlot?.transport.connectionEnded()
      closeDescriptor()
    }
    dropOutput()
    // Nothing is announced after the end: its receiver may be gone.
    unreportedWritten = 0
    flags.subtract([.lingering, .hurried])
    currentState = .unconnected
    existingDetails?.closingSilence = nil
    if existingWaiters != nil { wakeEverybody() }
    if let slot = transportSlot { transportEnded(slot) }
    existingDetails?.stateChanged?.notify(currentState)
    if wasConnected && currentState == .unconnected {
      flags.insert(.hasEnded)
      emitDisconnected()
    }
    if flags.contains(.accepted) && currentState == .unconnected {
      releaseHandlers()
    }
    if let relay = existingDetails?.relay { endRelay(relay) }
    tellServing()
  }

  /// The connection broke. Announced while the state is still connected, as Qt does.
  func connectionFailed(_ failure: Failure, resetting: Bool = false) {
    guard currentState != .unconnected else { return }
    if hasUndelivered { noteUndelivered() }
    record(failure)
    flags.formUnion([.broken, .failing])
    existingDetails?.errorOccurred?.notify(failure.error)
    // A handler may have ended the connection itself, and begun another.
    guard flags.contains(.failing) else { return }
    flags.remove(.failing)
    becomeUnconnected(resetting: resetting)
  }
}

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
    if unreportedWritten > 0 { announceWritten() }
    guard isClosingWithAllSent else { return }
    if flags.contains(.writeBroken) || hasPeerEndedWithAll() {
      endTransportInOrder()
      becomeUnconnected()
    } else {
      startLingering()
    }
  }

  private var isClosingWithAllSent: Bool {
    currentState == .closing && output == nil && !flags.contains(.lingering)
  }

  /// Whether the peer has ended its side, and has or will get what was written. Throws away what it has sent before.
  ///
  /// Within a turn of the loop the kernel is not asked: it has said so for the sockets that it is asked to watch, and
  /// will for the others, while nearly every peer that is looked at here has not ended.
  private func hasPeerEndedWithAll() -> Bool {
    if !flags.contains(.inputEnded) {
      if !flags.contains(.peerEnded) && isOwner && loopSeesEnds { return false }
      let outcome = SystemCalls.discardInput(descriptor, atMost: 1 << 30)
      guard case .value(0) = outcome else { return false }
      flags.insert(.inputEnded)
    }
    return !flags.contains(.wroteMuch) || isUnix
      || SystemCalls.unacknowledgedBytes(descriptor) <= Self.smallRest
  }

  private func startLingering() {
    endSending()
    flags.insert(.lingering)
    limitSilence()
    existingWaiters?.existingSettings?.state.wakeAll()
  }

  /// Begins to measure how long the peer is silent.
  func limitSilence() {
    let limit = existingDetails?.deliveryTimeout?.nanoseconds ?? context.deliveryNanoseconds
    details.closingSilence = PeerSilence(ofClosing: limit)
    if flags.contains(.lingering) {
      watchLingering()
    } else {
      armWriteTimer()
    }
  }

  /// In how many nanoseconds the next look at a closing connection is due.
  var nextLook: Int64? {
    guard let silence = existingDetails?.closingSilence else { return nil }
    // Without a loop, and at the end of a server, the acknowledgement of the last byte brings no event.
    let isSoon = flags.contains(.hurried) && !silence.isOfEnd || flags.contains(.inputEnded)
    return isSoon ? min(silence.nextLook, 20_000_000) : silence.nextLook
  }

  /// Looks whether the peer of a closing connection makes progress; ends the connection when it has not for too long.
  ///
  /// - Parameter time: until when its input was looked at.
  func lookAtClosing(at time: Int64 = Clocks.monotonic()) {
    guard var silence = existingDetails?.closingSilence, descriptor >= 0 else { return }
    let isDelivered = flags.contains(.lingering) && !hasUndelivered
    if isDelivered && flags.contains(.inputEnded) { return becomeUnconnected() }
    if isDelivered && flags.contains(.hurried) { silence.awaitEnd(for: Self.timeForEnd) }
    let isOver = silence.isOver(descriptor, at: time)
    details.closingSilence = silence
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
    let time = timedOut ? Clocks.monotonic() : nil
    if !flags.contains(.inputEnded) {
      // A loop that was late sees the timeout alone, whatever has come meanwhile; closed with that unread, the connection
      // would be reset.
      discardWhileLingering()
    } else if !hasUndelivered {
      becomeUnconnected()
    }
    if let time, flags.contains(.lingering) { lookAtClosing(at: time) }
    if flags.contains(.lingering) { armLingering() }
  }

  private func discardWhileLingering() {
    let outcome = SystemCalls.discardInput(descriptor, atMost: 1 << 30)
    switch outcome {
    case .value(0): peerEndedWhileLingering()
    case .value: existingDetails?.closingSilence?.progress()
    case .failed where outcome.wouldBlock: break
    case .failed: lingeringBroke()
    }
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

  /// How long a peer that has got everything may take for its own end while the server ends. What it has sent before it
  /// has seen the end would meet a closed connection otherwise, and a reset would come back.
  static let timeForEnd: Duration = .seconds(1)

  /// From now on the peer's own end is waited for a second, from when it has acknowledged what was written.
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
