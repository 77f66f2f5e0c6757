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
  /// make the kernel reset the connection and destroy what the peer has not read yet. Where the peer has ended its side
  /// already, and nothing is left to send, the socket is unconnected when this returns. Only a peer that makes no
  /// progress for ``deliveryTimeout`` is not waited for.
  ///
  /// A connection that is still being made is given up, unless something was written to it: then it ends once that was
  /// delivered.
  ///
  /// May be called from any thread.
  public func disconnectFromHost() {
    guard mayTouch else { return post("TCPSocket.disconnectFromHost()") { $0.disconnectFromHost() } }
    switch currentState {
    case .connected:
      currentState = .closing
      wakeReader(.ready)
      updateReadWatch()
      announceState()
      finishClosingIfSent()
      if currentState == .closing && output != nil { limitSilence() }
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
  /// May be called from any thread.
  public func abort() {
    guard mayTouch else { return post("TCPSocket.abort()") { $0.abort() } }
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
  /// - Parameter timeout: how long the peer may make no progress, instead of ``deliveryTimeout``. A peer that takes
  ///   bytes is waited for, however long all of it takes.
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
    await onLoop { await $0.closeAndWait(timeout, untilEnded: false) }
  }

  /// What ``closeGracefully(timeout:)`` does, in a task that stays on the loop.
  ///
  /// - Parameter untilEnded: the peer's own end is waited for, too, or its silence.
  func closeAndWait(_ timeout: Duration?, untilEnded: Bool) async -> Bool {
    if let timeout { deliveryTimeout = timeout }
    disconnectFromHost()
    // The acknowledgement of the last byte brings no event.
    var pause = Duration.milliseconds(1)
    while currentState != .unconnected, let engine {
      let looks = flags.contains(.lingering) && !untilEnded
      if looks && !hasUndelivered { break }
      let reason = await stateChange(within: looks ? pause : nil, engine)
      if looks { pause = min(pause * 2, .milliseconds(20)) }
      if reason == .cancelled || reason == .recheck && Task.isCancelled { endNow() }
    }
    return flags.isDisjoint(with: [.undelivered, .writeBroken, .broken])
  }

  // MARK: -

  /// Ends a connection whose time is over: reset, unless the peer has got everything.
  func endNow() {
    if flags.contains(.lingering) && !hasUndelivered {
      becomeUnconnected()
    } else {
      abort()
    }
  }

  /// Whether the peer has acknowledged less than was written.
  var hasUndelivered: Bool {
    guard descriptor >= 0, currentState == .connected || currentState == .closing else { return false }
    let hasEnded = flags.contains(.lingering) || flags.contains(.writeEnded) && output == nil
    return output != nil || SystemCalls.unacknowledgedBytes(descriptor) > (hasEnded ? 1 : 0)
  }

  /// Some of what was written has not reached the peer, and will not.
  func noteUndelivered() {
    guard !flags.contains(.undelivered) else { return }
    flags.insert(.undelivered)
    if flags.contains(.counted) { context.noteUndelivered() }
  }

  func becomeUnconnected(resetting: Bool = false) {
    guard currentState != .unconnected else { return }
    let wasConnected = currentState == .connected || currentState == .closing
    stopWatching()
    saveLentBytes()
    if descriptor >= 0 {
      if resetting { SystemCalls.resetOnClose(descriptor) }
      closeDescriptor()
    }
    output = nil
    // Nothing is announced after the end: its receiver may be gone.
    unreportedWritten = 0
    flags.subtract([.lingering, .hurried])
    currentState = .unconnected
    endAttempt()
    existingDetails?.closingSilence = nil
    wakeEverybody()
    announceState()
    if wasConnected && currentState == .unconnected {
      flags.insert(.hasEnded)
      existingDetails?.disconnected?.notify()
    }
    if flags.contains(.accepted) && currentState == .unconnected {
      releaseHandlers()
    }
    if let relay = existingDetails?.relay { endRelay(relay) }
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
