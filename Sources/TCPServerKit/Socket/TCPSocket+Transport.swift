// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Bytes between a socket and its descriptor: directly, or through a ``SocketTransport``.
///
/// All that a plain socket pays for the other kind is a look whether it has `Details`.
extension TCPSocket {
  @inline(__always) var transportSlot: TransportSlot? {
    existingDetails?.origin?.transport
  }

  @inline(__always)
  func receiveBytes(into memory: UnsafeMutableRawBufferPointer) -> SystemCalls.Outcome {
    if existingDetails != nil, let slot = transportSlot { return unsafe receive(into: memory, through: slot) }
    return unsafe SystemCalls.receive(descriptor, into: memory)
  }

  @inline(__always)
  func sendBytes(_ bytes: UnsafeRawBufferPointer) -> SystemCalls.Outcome {
    if existingDetails != nil, let slot = transportSlot { return unsafe send(bytes, through: slot) }
    return unsafe SystemCalls.transmit(descriptor, bytes)
  }

  func sendBytes(_ pieces: [[UInt8]], from start: Int) -> SystemCalls.Outcome {
    guard let slot = transportSlot else { return SystemCalls.transmit(descriptor, pieces, from: start) }
    // A head and a body become one record.
    var joined: [UInt8] = []
    var skipped = 0
    for piece in pieces where joined.count < Self.mostJoined {
      let from = max(start - skipped, 0)
      skipped += piece.count
      if from < piece.count { joined += piece[from...].prefix(Self.mostJoined - joined.count) }
    }
    guard !joined.isEmpty else { return .value(0) }
    return unsafe joined.withUnsafeBytes { unsafe send($0, through: slot) }
  }

  private static let mostJoined = 65536

  /// What a read or a write that has failed with this errno has failed for.
  func failure(of call: csc_call, _ errnum: CInt) -> Failure {
    transportSlot?.failure ?? Failure(call, errno: errnum)
  }

  /// Whether a read would find something now, or the end.
  var hasSomethingToRead: Bool {
    transportSlot?.transport.hasBufferedInput ?? false || SystemCalls.isReadable(descriptor)
  }

  /// How many bytes a read would find at most, of those that have arrived.
  var arrivedBytes: Int {
    // A transport holds two records at most, one of them decrypted.
    SystemCalls.unreadBytes(descriptor) + (transportSlot == nil ? 0 : 32768)
  }

  /// How many of the bytes that are held cannot be taken back.
  var begunBytes: Int {
    transportSlot?.transport.begunBytes ?? 0
  }

  // MARK: - Through a transport

  @inline(never)
  private func receive(
    into memory: UnsafeMutableRawBufferPointer,
    through slot: TransportSlot
  ) -> SystemCalls.Outcome {
    // The number may be another file's by now.
    guard descriptor >= 0 else { return .failed(EBADF) }
    guard slot.state == .ready else { return .failed(EAGAIN) }
    slot.readNeedsRoom = false
    switch unsafe slot.transport.receive(into: memory) {
    case .count(let count):
      noteUse(of: slot)
      comeBackForInput(slot)
      return .value(count)
    case .needsInput:
      return .failed(EAGAIN)
    case .needsRoom:
      slot.readNeedsRoom = true
      updateReadWatch()
      watchWrite(true)
      return .failed(EAGAIN)
    case .failed(let failure):
      return .failed(slot.note(failure, CSC_CALL_READ))
    }
  }

  @inline(never)
  private func send(_ bytes: UnsafeRawBufferPointer, through slot: TransportSlot) -> SystemCalls.Outcome {
    guard descriptor >= 0 else { return .failed(EBADF) }
    guard slot.state == .ready else { return .failed(EAGAIN) }
    switch unsafe slot.transport.send(bytes) {
    case .count(let count):
      noteUse(of: slot)
      return .value(count)
    case .needsInput, .needsRoom: return .failed(EAGAIN)
    case .failed(let failure): return .failed(slot.note(failure, CSC_CALL_WRITE))
    }
  }

  private func noteUse(of slot: TransportSlot) {
    slot.isUsed = true
    if slot.place == nil, let engine { context.loop?.idleTransports.add(slot, engine) }
  }

  /// The loop is silent about what the transport holds: it looks at the other sockets, and then at this one.
  func comeBackForInput(_ slot: TransportSlot) {
    guard !slot.comesBack, slot.state == .ready, slot.transport.hasBufferedInput, let engine else { return }
    slot.comesBack = true
    engine.afterTurn { [self] in
      slot.comesBack = false
      guard transportSlot === slot, descriptor >= 0, slot.transport.hasBufferedInput else { return }
      if flags.contains(.watchingRead) { handleReadable(timedOut: false) }
    }
  }

  // MARK: - The end

  /// Ends this side after what was sent, as soon as there is room for that.
  func endSending() {
    if existingDetails != nil, let slot = transportSlot, !endSending(through: slot) { return }
    SystemCalls.endWriting(descriptor)
  }

  /// - Returns: whether the peer has been sent the end, or cannot be.
  @discardableResult
  private func endSending(through slot: TransportSlot) -> Bool {
    slot.owesEnd = slot.isHandshaking
    guard slot.state == .ready else { return !slot.owesEnd }
    if case .needsRoom = slot.transport.endWriting() {
      slot.owesEnd = true
      watchWrite(true)
    }
    return !slot.owesEnd
  }

  /// Before the descriptor of a connection that ends in order is closed.
  func endTransportInOrder() {
    guard let slot = transportSlot else { return }
    context.loop?.idleTransports.remove(slot)
    if output == nil, slot.state == .ready, flags.isDisjoint(with: [.lingering, .writeBroken, .broken]) {
      _ = slot.transport.endWriting()
    }
    slot.transport.connectionEnded()
  }

  /// There is room for more than what is held.
  func sendWhatTransportOwes() {
    guard let slot = transportSlot else { return }
    if slot.readNeedsRoom {
      slot.readNeedsRoom = false
      if output == nil { watchWrite(false) }
      updateReadWatch()
      // Reads once, so that the transport sends what it has to.
      if !flags.contains(.lingering) { handleReadable(timedOut: false) }
    }
    if slot.owesEnd, output == nil, descriptor >= 0, endSending(through: slot) {
      watchWrite(false)
      SystemCalls.endWriting(descriptor)
    }
  }

  /// Ends the timeouts and the handshake of a connection that has ended.
  func transportEnded(_ slot: TransportSlot) {
    slot.readTimer = nil
    slot.reasonTimer = nil
    context.loop?.idleTransports.remove(slot)
    slot.onHandshakeReady = nil
    slot.onHandshakeQuestion = nil
    if slot.isHandshaking { slot.state = .failed }
    exchange(&slot.onHandshakeEnd, with: nil)?(flags.contains(.broken) ? lastError : .remoteHostClosed)
  }

  // MARK: - The handshake

  /// Puts a transport between the socket and its descriptor, and begins its handshake.
  ///
  /// - Parameters:
  ///   - isReading: whether the peer begins: the first step is made when the descriptor is readable.
  ///   - onReady: called instead of going on, when the descriptor is ready: the caller calls `continueHandshake()` in its
  ///     own time. Nil to go on at once.
  ///   - onQuestion: called when the handshake needs an answer; then the caller calls `continueHandshake()`.
  ///   - onEnd: called once, on the loop and never from within this call: with nil when all that is written is encrypted,
  ///     or with what is wrong when the connection has ended, or is about to.
  /// - Returns: why it cannot; nothing has been changed then.
  package func begin(
    _ transport: any SocketTransport,
    isReading: Bool,
    onReady: (() -> Void)? = nil,
    onQuestion: (() -> Void)? = nil,
    onEnd: @escaping (SocketError?) -> Void
  ) -> SocketError? {
    if let refusal = whyEncryptionCannotBegin() { return refusal }
    let slot = TransportSlot(transport)
    slot.onHandshakeReady = onReady
    slot.onHandshakeQuestion = onQuestion
    slot.onHandshakeEnd = onEnd
    origin.transport = slot
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
    if let onReady = slot.onHandshakeReady { onReady() } else { continueHandshake() }
  }

  /// Does as much of the handshake as is possible now.
  package func continueHandshake() {
    guard let slot = transportSlot, slot.isHandshaking, descriptor >= 0 else { return }
    switch slot.transport.handshake() {
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
      slot.onHandshakeQuestion?()
    case .failed(let failure):
      handshakeHasFailed(slot, failure)
    }
  }

  private func handshakeIsComplete(_ slot: TransportSlot) {
    slot.state = .ready
    noteUse(of: slot)
    slot.onHandshakeReady = nil
    slot.onHandshakeQuestion = nil
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
    exchange(&slot.onHandshakeEnd, with: nil)?(nil)
  }

  /// The peer has time to read the reason, if it was sent one: a reset would destroy that.
  private func handshakeHasFailed(_ slot: TransportSlot, _ failure: TransportFailure) {
    _ = slot.note(failure, CSC_CALL_READ)
    slot.state = .failed
    guard case .other(_, _, true) = failure else {
      return connectionFailed(slot.failure ?? .remoteHostClosed)
    }
    endFailedHandshake(slot)
  }

  private func endFailedHandshake(_ slot: TransportSlot) {
    let failure = slot.failure ?? .remoteHostClosed
    if output != nil { noteUndelivered() }
    output = nil
    watchWrite(false)
    record(failure)
    flags.insert(.broken)
    deliveryTimeout = min(deliveryTimeout, Self.timeForReason)
    // That is a limit for silence alone, and the peer may go on sending.
    slot.reasonTimer = engine.map {
      LoopTimer($0, after: Self.timeForReason) { [weak self] in self?.becomeUnconnected(resetting: true) }
    }
    exchange(&slot.onHandshakeEnd, with: nil)?(failure.error)
    existingDetails?.errorOccurred?.notify(failure.error)
    disconnectFromHost()
  }

  /// How long a peer may take to read why its handshake has failed.
  private static let timeForReason: Duration = .seconds(2)

  /// Ends a connection whose handshake the program gives up, by a reset.
  package func giveUpHandshake(_ error: SocketError, _ text: String) {
    abort()
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
      guard let engine = socket.engine else { throw socket.refuseAsync("No event base to wait on") }
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
          socket.abort()
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
      abort()
      throw error
    }
  }

  private func completeHandshake(
    of transport: any SocketTransport,
    isReading: Bool,
    _ engine: EventEngine
  ) async throws {
    let waiter = WaiterQueue.Waiter()
    waiter.begin()
    var failure: SocketError?
    var hasEnded = false
    let refusal = begin(
      transport,
      isReading: isReading,
      onEnd: {
        failure = $0
        hasEnded = true
        waiter.wake(.ready)
      }
    )
    if let refusal { throw refusal }
    await engine.suspend(on: waiter)
    if let failure { throw failure }
    guard hasEnded else {
      transportSlot?.onHandshakeEnd = nil
      abort()
      throw cancelled()
    }
  }
}

extension TransportSlot {
  /// Keeps a failure; returns the errno of it, or one that stands for it.
  fileprivate func note(_ failure: TransportFailure, _ call: csc_call) -> CInt {
    switch failure {
    case .system(let errnum):
      self.failure = Failure(call, errno: errnum)
      return errnum
    case .other(let error, let text, _):
      self.failure = Failure(error, text)
      return EPROTO
    }
  }
}

extension TCPSocket {
  /// The transport, also of a connection that has ended.
  package var transport: (any SocketTransport)? {
    requireLoopThread("What is asked of an encrypted TCPSocket")
    return transportSlot?.transport
  }

  /// The place among the loops.
  package var loopIdentifier: ObjectIdentifier? {
    context.engine.map { ObjectIdentifier($0) }
  }

  /// Whether a transport's handshake is not complete.
  var isHandshaking: Bool {
    transportSlot?.isHandshaking ?? false
  }
}
