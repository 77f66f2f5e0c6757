// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Bytes between a socket and its descriptor: directly, or through a ``SocketTransport``.
///
/// All that a plain socket pays for the other kind is a look at one bit.
extension TCPSocket {
  @inline(__always)
  func receiveBytes(into memory: UnsafeMutableRawBufferPointer) -> SystemCalls.Outcome {
    if let slot = transportSlot { return unsafe receive(into: memory, through: slot) }
    return unsafe SystemCalls.receive(descriptor, into: memory)
  }

  @inline(__always)
  func sendBytes(_ bytes: UnsafeRawBufferPointer) -> SystemCalls.Outcome {
    if let slot = transportSlot { return unsafe send(bytes, through: slot) }
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
    transportSlot?.exceptions?.failure ?? Failure(call, errno: errnum)
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

  func noteUse(of slot: TransportSlot) {
    slot.isUsed = true
    if !slot.isListed, let engine { context.loop?.idleTransports.add(slot, engine) }
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
    if let slot = transportSlot, !endSending(through: slot) { return }
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
    slot.stopTimers()
    context.loop?.idleTransports.remove(slot)
    if slot.isHandshaking { slot.state = .failed }
    exchange(&slot.observer, with: nil)?.handshakeEnded(
      flags.contains(.broken) ? lastError : .remoteHostClosed
    )
  }
}

extension TransportSlot {
  /// Keeps a failure.
  ///
  /// - Returns: its errno, `EPROTO` where it has none.
  func note(_ failure: TransportFailure, _ call: csc_call) -> CInt {
    switch failure {
    case .system(let errnum):
      needsExceptions.failure = Failure(call, errno: errnum)
      return errnum
    case .other(let error, let text, _):
      needsExceptions.failure = Failure(error, text)
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

  /// The loop, as an object that is there as long as it.
  package var loopIdentity: (any AnyObject & Sendable)? {
    context.engine
  }

  /// Runs tasks on the socket's loop; nil for a socket without one.
  package var loopExecutor: (any TaskExecutor)? {
    context.engine?.eventBase?.taskExecutor
  }

  /// Whether a transport's handshake is not complete.
  var isHandshaking: Bool {
    transportSlot?.isHandshaking ?? false
  }
}
