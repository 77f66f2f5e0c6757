// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Writing. Bytes go to the kernel at once; only what it does not take is held, and watched for.
extension TCPSocket {
  /// How many written bytes the kernel has not taken yet.
  public var bytesToWrite: Int {
    requireLoopThread("TCPSocket.bytesToWrite")
    return held + bytesInPipe
  }

  /// How many bytes of a relay are in a pipe on their way to this connection.
  var bytesInPipe: Int {
    existingDetails?.relay?.pipe?.count ?? 0
  }

  /// For code that is on the loop already.
  var held: Int {
    guard let output else { return 0 }
    return output.count + (output.following?.count ?? 0)
  }

  /// How much of that may be sent now.
  var sendable: Int {
    output?.count ?? 0
  }

  /// How many bytes the socket may hold, and what becomes of a peer that is too slow for that; 64 MiB, and a reset.
  ///
  /// It is for writes that do not wait: a handler's, or those to the members of a chat room. A write
  /// that begins below the limit is taken whole, so that one large write is no reason to end a connection. A task's
  /// `write` waits long before, see ``writeHighWaterMark``.
  public var writeBufferLimit: WriteBufferLimit {
    get {
      requireLoopThread("TCPSocket.writeBufferLimit")
      return existingDetails?.writeBufferLimit ?? WriteBufferLimit()
    }
    set {
      requireLoopThread("TCPSocket.writeBufferLimit")
      details.writeBufferLimit = newValue
    }
  }

  /// Writes bytes without waiting. All are taken: what the kernel has no room for is held and sent when it has. While the
  /// connection is being made they are held, and sent once it is there.
  ///
  /// A program that writes more than its peer reads watches ``bytesToWrite`` and goes on when ``bytesWritten``
  /// says so; ``writeBufferLimit`` is for those that do not.
  ///
  /// While a task's write waits for a slow peer, the bytes are held and come after that write, not in the middle of it.
  ///
  /// From another thread than the event base's, the bytes are copied and written there soon, in the order of the calls.
  ///
  /// - Returns: the number of bytes; -1 when the socket is not connected, its write side has ended, more is held than
  ///   ``writeBufferLimit`` allows, or the connection turned out to be broken, with the reason in ``error``. From
  ///   another thread the number of bytes, or -1 when too many of this socket wait for its event base already.
  @discardableResult
  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard mayTouch else { return unsafe writeFromElsewhere(Array(bytes)) }
    return unsafe writeHere(bytes)
  }

  /// Writes bytes, as ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(_ bytes: [UInt8]) -> Int {
    guard mayTouch else { return writeFromElsewhere(bytes) }
    return unsafe bytes.withUnsafeBytes { unsafe writeHere($0) }
  }

  /// Writes bytes, as ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(_ bytes: RawSpan) -> Int {
    unsafe bytes.withUnsafeBytes { unsafe write($0) }
  }

  /// Writes bytes, as ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(_ bytes: some Collection<UInt8>) -> Int {
    let written = bytes.withContiguousStorageIfAvailable {
      unsafe write(UnsafeRawBufferPointer($0))
    }
    return written ?? write(Array(bytes))
  }

  /// Writes a text in UTF-8, as ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(_ text: String) -> Int {
    write(text.utf8)
  }

  /// Writes several pieces one after the other, in one system call where the kernel has room, as
  /// ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(pieces: [[UInt8]]) -> Int {
    guard mayTouch else { return writeFromElsewhere(pieces.reduce(into: []) { $0 += $1 }) }
    guard mayWrite(), hasRoomToHold() else { return -1 }
    var sent = 0
    let follows = isTaskWriting
    if output == nil && isEstablished && !follows {
      guard case .value(let count) = transmit(pieces, from: 0) else { return -1 }
      sent = count
    }
    var skipped = 0
    for piece in pieces {
      let from = max(sent - skipped, 0)
      skipped += piece.count
      if from < piece.count {
        unsafe piece.withUnsafeBytes {
          unsafe holdAll(UnsafeRawBufferPointer(rebasing: $0[from...]), follows: follows)
        }
      }
    }
    makeUpForLostBytes(skipped)
    announceWrittenSoon()
    return skipped
  }

  /// Gives the kernel what it takes now of the bytes that are held, without waiting.
  ///
  /// - Returns: whether any byte went out.
  @discardableResult
  public func flush() -> Bool {
    requireLoopThread("TCPSocket.flush()")
    let before = unreportedWritten
    sendHeldBytes()
    let sent = unreportedWritten > before
    announceWrittenSoon()
    finishClosingIfSent()
    return sent
  }

  /// Ends this side: after what was written, the peer sees the end of input. Reading goes on. While the connection is
  /// being made, it is done once it is there. May be called from any thread.
  ///
  /// Where handlers read, and the peer ends its side, too, before or later, the socket disconnects in order, as by
  /// ``disconnectFromHost()``, after ``readChannelFinished`` was emitted.
  public func finishWriting() {
    guard mayTouch else { return post("TCPSocket.finishWriting()") { $0.finishWriting() } }
    guard currentState != .unconnected, currentState != .closing, !flags.contains(.writeEnded) else { return }
    flags.insert(.writeEnded)
    if output == nil && isEstablished {
      endSending()
    }
    // Not from within: what is called for the peer's end has its turn first.
    if flags.contains(.endAnnounced) { engine?.enqueue { [self] in endIfBothSidesHave() } }
  }

  // MARK: -

  /// - Parameter isLimited: whether ``writeBufferLimit`` applies.
  func writeHere(_ bytes: UnsafeRawBufferPointer, isLimited: Bool = true) -> Int {
    guard mayWrite(), output == nil || !isLimited || hasRoomToHold() else { return -1 }
    var rest = unsafe bytes
    let follows = isTaskWriting
    if output == nil && isEstablished && !follows {
      switch unsafe transmit(rest) {
      case .value(let count): unsafe rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      case .failed: return -1
      }
    }
    if rest.count > 0 { unsafe holdAll(rest, follows: follows) }
    noteUse()
    // A failed write has recorded an error there.
    if existingDetails != nil {
      if existingWaiters != nil { makeUpForLostBytes(bytes.count) }
      announceWrittenSoon()
    }
    return bytes.count
  }

  /// Whether a task's write waits for the peer, which is not to be torn.
  private var isTaskWriting: Bool {
    withExistingWaiters { $0.existingSettings?.isWriting ?? false } ?? false
  }

  /// - Parameter follows: whether the bytes come after the write of a task.
  @inline(never) private func holdAll(_ bytes: UnsafeRawBufferPointer, follows: Bool) {
    guard bytes.count > 0 else { return }
    let queue = output ?? ByteQueue(capacity: follows ? 0 : bytes.count)
    output = queue
    guard !follows else {
      let following = queue.following ?? ByteQueue(capacity: bytes.count)
      queue.following = following
      return unsafe following.append(bytes)
    }
    unsafe queue.append(bytes)
    if isEstablished { watchWrite(true) }
  }

  private func writeFromElsewhere(_ bytes: [UInt8]) -> Int {
    guard let engine = confinement as? EventEngine else {
      requireLoopThread("TCPSocket.write(_:)")
      return -1
    }
    let isPosted = engine.post(bytes.count, for: self) { socket, isComplete in
      guard isComplete else { return socket.tooMuchWasPosted() }
      unsafe bytes.withUnsafeBytes { unsafe _ = socket.writeHere($0) }
    }
    return isPosted ? bytes.count : -1
  }

  /// Whether more may be held; where that is not so, what the limit says happens.
  @inline(never) private func hasRoomToHold() -> Bool {
    guard output != nil else { return true }
    let limit = existingDetails?.writeBufferLimit ?? WriteBufferLimit()
    guard held >= limit.bytes else { return true }
    record(.writeBufferFull)
    if limit.policy == .reset { overflow() }
    return false
  }

  private func tooMuchWasPosted() {
    if (existingDetails?.writeBufferLimit ?? WriteBufferLimit()).policy == .reset { overflow() }
  }

  /// A peer that is too slow is given up. Not from within write(): its caller does not expect the socket to end then.
  private func overflow() {
    guard let engine, !details.hasOverflowed, currentState != .unconnected else { return }
    details.hasOverflowed = true
    engine.enqueue { [self] in
      guard details.hasOverflowed else { return }
      connectionFailed(.writeBufferFull, resetting: true)
    }
  }

  /// Whether there is a connection, as opposed to one that is being made.
  var isEstablished: Bool {
    currentState == .connected || currentState == .closing
  }

  @inline(__always) func mayWrite() -> Bool {
    currentState == .connected && descriptor >= 0
      && flags.isDisjoint(with: [.lingering, .writeEnded, .writeBroken])
      || mayStillWrite()
  }

  /// Whether that is so in another state; records why not.
  @inline(never) private func mayStillWrite() -> Bool {
    let isOpen =
      switch currentState {
      case .hostLookup, .connecting: true
      case .connected, .closing: descriptor >= 0 && !flags.contains(.lingering)
      default: false
      }
    guard isOpen else {
      // What broke the connection is the reason, where something did.
      if !flags.contains(.broken) { record(Failure(.unknown, "Socket is not connected")) }
      return false
    }
    guard !flags.contains(.writeEnded) else {
      record(Failure(.operation, "The write side has ended"))
      return false
    }
    guard !flags.contains(.writeBroken) else {
      record(.remoteHostClosed)
      return false
    }
    return true
  }

  /// Sends once, counting what went. A full kernel is no failure, but 0 bytes.
  func transmit(_ bytes: UnsafeRawBufferPointer) -> SystemCalls.Outcome {
    guard bytes.count > 0 else { return .value(0) }
    return unsafe note(sendBytes(bytes))
  }

  @inline(__always) func note(_ outcome: SystemCalls.Outcome) -> SystemCalls.Outcome {
    switch outcome {
    case .value(let count):
      unreportedWritten = UInt32(clamping: Int(unreportedWritten) + count)
      if unreportedWritten > 16384 { flags.insert(.wroteMuch) }
      return outcome
    case .failed(let errnum):
      if outcome.wouldBlock {
        return .value(0)
      }
      writingFailed(failure(of: CSC_CALL_WRITE, errnum))
      return outcome
    }
  }

  /// Sends several pieces at once, from a number of bytes on.
  func transmit(_ pieces: [[UInt8]], from start: Int) -> SystemCalls.Outcome {
    note(sendBytes(pieces, from: start))
  }

  /// The peer takes nothing any more. It may have sent something before, so the reading side ends the
  /// connection where it is at work.
  private func writingFailed(_ failure: Failure) {
    flags.insert(.writeBroken)
    noteUndelivered()
    dropOutput()
    watchWrite(false)
    record(failure)
    wakeWriter(.ready)
    guard let engine else {
      if currentState == .closing { becomeUnconnected() }
      return
    }
    guard !flags.contains(.watchingRead) else { return }
    // Not from within write(): its caller does not expect the socket to end under it.
    engine.enqueue { [self] in
      guard flags.contains(.writeBroken), !flags.contains(.watchingRead), currentState != .unconnected
      else { return }
      if currentState == .closing {
        becomeUnconnected()
      } else {
        takeRest(of: failure)
      }
    }
  }

  func sendHeldBytes() {
    guard isEstablished else { return }
    while let output, output.count > 0 {
      guard case .value(let count) = unsafe transmit(output.bytes), count > 0 else { return }
      output.consume(count)
    }
    guard let output else { return }
    if output.following == nil {
      outputDone()
    } else {
      // The task that writes has its turn; there is nothing to send before.
      watchWrite(false)
      wakeWriter(.ready)
    }
  }

  /// Nothing of what is held will be sent.
  func dropOutput() {
    guard output != nil else { return }
    existingWaiters?.existingSettings?.bytesDropped = sendable
    output = nil
  }

  /// Nothing is held any more.
  func outputDone() {
    output = nil
    // A read may wait for room, too.
    if !(transportSlot?.readNeedsRoom ?? false) { watchWrite(false) }
    if flags.contains(.writeEnded) {
      endSending()
    }
    // The loop would, but what is sent by flush() it does not see.
    wakeWriter(.ready)
  }

  /// There is room to write.
  func handleWritable(timedOut: Bool = false) {
    guard !timedOut || SystemCalls.isWritable(descriptor) else {
      return writeTimedOut()
    }
    if let slot = transportSlot, slot.isHandshaking { return handshakeIsReady(slot) }
    sendHeldBytes()
    if transportSlot != nil { sendWhatTransportOwes() }
    announceWritten()
    finishClosingIfSent()
    wakeWriterIfDrained()
  }

  func announceWritten() {
    guard unreportedWritten > 0, !flags.contains(.inBytesWritten) else { return }
    let count = Int(unreportedWritten)
    unreportedWritten = 0
    guard let signal = existingDetails?.bytesWritten else { return }
    flags.insert(.inBytesWritten)
    signal.notify(count)
    flags.remove(.inBytesWritten)
    announceWrittenSoon()
  }

  /// From within write() nothing is announced: a handler that writes would call itself.
  func announceWrittenSoon() {
    guard let signal = existingDetails?.bytesWritten, signal.hasHandlers, unreportedWritten > 0,
      !flags.contains(.announcementDue), let engine
    else { return }
    flags.insert(.announcementDue)
    engine.enqueue { [self] in
      flags.remove(.announcementDue)
      announceWritten()
    }
  }
}
