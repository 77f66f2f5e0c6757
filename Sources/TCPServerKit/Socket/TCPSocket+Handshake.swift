// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// The handshake of a ``SocketTransport``: before it is complete no byte of the program is sent, and none is received.
extension TCPSocket {
  /// Puts a transport between the socket and its descriptor, and begins its handshake.
  ///
  /// - Parameters:
  ///   - isReading: whether the peer begins: the first step is made when the descriptor is readable.
  ///   - observer: follows it until it ends.
  /// - Returns: why it cannot; nothing has been changed then.
  package func beginHandshake(
    of transport: any SocketTransport,
    isReading: Bool,
    observer: any HandshakeObserver
  ) -> SocketError? {
    if let refusal = whyEncryptionCannotBegin() { return refusal }
    let slot = TransportSlot(transport)
    slot.observer = observer
    transportSlot = slot
    updateReadWatch()
    if !isReading {
      engine?.enqueue { [self] in
        if transportSlot === slot { continueHandshake() }
      }
    }
    return nil
  }

  private func whyEncryptionCannotBegin() -> SocketError? {
    guard currentState == .connected, engine != nil, flags.isDisjoint(with: [.inputEnded, .writeEnded]) else {
      return refuseAsync("Encryption begins on a socket that is connected, on an event base")
    }
    guard transportSlot == nil else { return refuseAsync("The connection is encrypted already") }
    // What was sent before in the clear must not be taken for what is encrypted.
    guard bytesHeld == 0, held == 0 else {
      return refuseAsync("Encryption cannot begin while bytes are unread, or not sent")
    }
    guard !isInTransaction else { return refuseAsync("Encryption cannot begin within a transaction") }
    return nil
  }

  /// The descriptor is ready for the handshake.
  func handshakeIsReady(_ slot: TransportSlot) {
    if slot.observer?.handshakeIsReady() != true { continueHandshake() }
  }

  /// The answer that the handshake needs has come: it goes on, in the time of who continues it.
  package func handshakeIsAnswered() {
    guard let slot = transportSlot, slot.state == .handshaking(.answer), descriptor >= 0 else { return }
    handshakeIsReady(slot)
  }

  /// Something has happened to a connection whose handshake needs an answer: ends it where the peer has reset it, or has
  /// ended its side too early.
  func lookForEnd(whileAnswerLacks slot: TransportSlot) {
    guard descriptor >= 0 else { return }
    let isOver = flags.contains(.peerEnded) && slot.transport.needsMoreFromPeer
    if isOver || SystemCalls.hangUp(descriptor).isError { connectionFailed(.remoteHostClosed) }
  }

  /// Does as much of the handshake as is possible now.
  package func continueHandshake() {
    guard let slot = transportSlot, slot.isHandshaking, descriptor >= 0 else { return }
    let step = slot.transport.handshake()
    // A transport may call the program within a step, which may end the connection, and begin another.
    guard transportSlot === slot, descriptor >= 0 else { return }
    switch step {
    case .done:
      handshakeIsComplete(slot)
    case .needsInput:
      slot.state = .handshaking(.input)
      watchWrite(false)
      updateReadWatch()
    case .needsRoom:
      slot.state = .handshaking(.room)
      updateReadWatch()
      watchWrite(true)
    case .needsAnswer:
      slot.state = .handshaking(.answer)
      watchWrite(false)
      updateReadWatch()
      // It may have come while a thread had the handshake, or before its turn, and does not come again.
      if flags.contains(.peerEnded) { lookForEnd(whileAnswerLacks: slot) }
      if slot.isHandshaking, descriptor >= 0 { slot.observer?.handshakeNeedsAnswer() }
    case .failed(let failure):
      handshakeHasFailed(slot, failure)
    }
  }

  private func handshakeIsComplete(_ slot: TransportSlot) {
    slot.state = .ready
    noteBytes(of: slot)
    noteUse(of: slot)
    flags.remove(.drained)
    watchWrite(false)
    if output != nil {
      watchWrite(true)
      sendHeldBytes()
      wakeWriterIfDrained()
      armWriteTimer()
    } else if slot.owesEnd || flags.contains(.writeEnded) {
      endSending()
    }
    updateReadWatch()
    comeBackForInput(slot)
    exchange(&slot.observer, with: nil)?.handshakeEnded(nil)
  }

  /// The peer's first byte is the first after its handshake.
  private func noteBytes(of slot: TransportSlot) {
    guard let traffic = SystemCalls.traffic(descriptor) else { return slot.bytesOfHandshake = 0 }
    // What came with the handshake's end: one byte less is enough.
    let hasMore = slot.transport.hasBufferedInput || SystemCalls.unreadBytes(descriptor) > 0
    slot.bytesOfHandshake = UInt32(clamping: traffic.bytesOfPeer) - (hasMore ? 1 : 0)
  }

  /// The peer has time to read the reason, if it was sent one: a reset would destroy that.
  private func handshakeHasFailed(_ slot: TransportSlot, _ failure: TransportFailure) {
    _ = slot.note(failure, CSC_CALL_READ)
    slot.state = .failed
    guard case .other(_, _, true) = failure else {
      return connectionFailed(slot.exceptions?.failure ?? .remoteHostClosed)
    }
    endFailedHandshake(slot)
  }

  private func endFailedHandshake(_ slot: TransportSlot) {
    let failure = slot.exceptions?.failure ?? .remoteHostClosed
    if output != nil { noteUndelivered() }
    dropOutput()
    watchWrite(false)
    record(failure)
    flags.insert(.broken)
    // `deliveryTimeout` is a limit for silence alone, and the peer may go on sending.
    slot.needsExceptions.reasonTimer = engine.map {
      LoopTimer($0, after: Self.timeForReason) { [weak self] in self?.becomeUnconnected(resetting: true) }
    }
    // Each of the two may end the connection, and begin another.
    exchange(&slot.observer, with: nil)?.handshakeEnded(failure.error)
    guard transportSlot === slot else { return }
    existingDetails?.errorOccurred?.notify(failure.error)
    guard transportSlot === slot else { return }
    disconnectFromHost()
  }

  /// How long a peer may take to read why its handshake has failed.
  private static let timeForReason: Duration = .seconds(2)

  /// Ends a connection whose handshake the program gives up, by a reset.
  package func giveUpHandshake(_ error: SocketError, _ text: String) {
    abortHere()
    record(Failure(error, text))
  }

  /// Waits until the handshake of a transport is complete.
  ///
  /// Where it throws before `answer` was written, nothing has been changed; after that the connection has ended, because
  /// the peer takes it for encrypted.
  ///
  /// - Parameters:
  ///   - make: makes the transport for the socket's descriptor.
  ///   - answer: is written, not encrypted, before: nothing of the peer's handshake is read meanwhile.
  ///   - timeout: for all of it; nil sets no limit. The connection is reset when it has passed.
  package func encrypt(
    isReading: Bool,
    after answer: [UInt8],
    timeout: Duration?,
    _ make: (CInt) throws -> any SocketTransport
  ) async throws {
    try await onLoop { socket in
      guard let engine = socket.engine else { throw socket.refuseWithoutLoop() }
      if let refusal = socket.whyEncryptionCannotBegin() { throw refusal }
      let transport = try make(socket.descriptor)
      // Nothing of the handshake is to be read ahead.
      socket.flags.remove(.readsAhead)
      socket.updateReadWatch()
      var isLate = false
      let timer = timeout.map {
        LoopTimer(engine, after: $0) {
          // Not of one that is over, and whose task has not gone on yet.
          guard socket.transportSlot?.isHandshaking ?? true else { return }
          isLate = true
          socket.abortHere()
        }
      }
      defer { withExtendedLifetime(timer) {} }
      do {
        if !answer.isEmpty { try await socket.writeInTheClear(answer) }
        try await socket.completeHandshake(of: transport, isReading: isReading, engine)
      } catch {
        guard isLate else { throw error }
        socket.record(Failure(.socketTimeout, "The handshake took too long"))
        throw SocketError.socketTimeout
      }
    }
  }

  /// Writes what the peer begins its handshake after.
  private func writeInTheClear(_ answer: [UInt8]) async throws {
    do {
      guard unsafe answer.withUnsafeBytes({ unsafe writeHere($0) }) >= 0 else { throw lastError }
      try await waitUntilAllSent(nil)
      if let refusal = whyEncryptionCannotBegin() { throw refusal }
    } catch {
      abortHere()
      throw error
    }
  }

  private func completeHandshake(
    of transport: any SocketTransport,
    isReading: Bool,
    _ engine: EventEngine
  ) async throws {
    let wait = HandshakeWait()
    if let refusal = beginHandshake(of: transport, isReading: isReading, observer: wait) { throw refusal }
    await engine.suspend(on: wait.waiter)
    if let failure = wait.failure { throw failure }
    guard wait.hasEnded else {
      transportSlot?.observer = nil
      abortHere()
      throw cancelled()
    }
  }
}

/// A task that waits for the end of a handshake.
private final class HandshakeWait: HandshakeObserver {
  let waiter = WaiterQueue.Waiter()
  private(set) var failure: SocketError?
  private(set) var hasEnded = false

  init() {
    waiter.begin()
  }

  func handshakeEnded(_ failure: SocketError?) {
    self.failure = failure
    hasEnded = true
    waiter.wake(.ready)
  }
}
