internal import CServerCore

/// Writing. Bytes go to the kernel at once; only what it does not take is held, and watched for.
extension TCPSocket {
  /// How many written bytes the kernel has not taken yet.
  public var bytesToWrite: Int {
    output?.count ?? 0
  }

  /// Writes bytes. All are taken: what the kernel has no room for is held and sent when it has. While the connection is
  /// being made they are held, and sent once it is there.
  ///
  /// A program that writes more than its peer reads watches ``bytesToWrite`` and goes on when ``bytesWritten``
  /// says so.
  ///
  /// - Returns: the number of bytes; -1 when the socket is not connected, its write side has ended, or the
  ///   connection turned out to be broken, with the reason in ``error``.
  @discardableResult
  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard mayWrite() else { return -1 }
    var rest = unsafe bytes
    if output == nil && isEstablished {
      switch unsafe transmit(rest) {
      case .value(let count): unsafe rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      case .failed: return -1
      }
    }
    if rest.count > 0 {
      let queue = output ?? ByteQueue(capacity: rest.count)
      unsafe queue.append(rest)
      output = queue
      if isEstablished { watchWrite(true) }
    }
    announceWrittenSoon()
    return bytes.count
  }

  /// Writes bytes, as ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(_ bytes: [UInt8]) -> Int {
    unsafe bytes.withUnsafeBytes { unsafe write($0) }
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
    return unsafe written ?? Array(bytes).withUnsafeBytes { unsafe write($0) }
  }

  /// Writes a text in UTF-8, as ``write(_:)-(UnsafeRawBufferPointer)`` does.
  @discardableResult
  public func write(_ text: String) -> Int {
    write(text.utf8)
  }

  /// Gives the kernel what it takes now of the bytes that are held, without waiting.
  ///
  /// - Returns: whether any byte went out.
  @discardableResult
  public func flush() -> Bool {
    let before = unannounced
    sendHeldBytes()
    let sent = unannounced > before
    announceWrittenSoon()
    finishClosingIfSent()
    return sent
  }

  /// Ends this side: after what was written, the peer sees the end of input. Reading goes on. While the connection is
  /// being made, it is done once it is there.
  public func writeEnd() {
    guard currentState != .unconnected, currentState != .closing, !flags.contains(.writeEnded) else { return }
    flags.insert(.writeEnded)
    if output == nil && isEstablished {
      SystemCalls.endWriting(descriptor)
    }
  }

  // MARK: -

  /// Whether there is a connection, as opposed to one that is being made.
  var isEstablished: Bool {
    currentState == .connected || currentState == .closing
  }

  func mayWrite() -> Bool {
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
    let outcome = unsafe SystemCalls.transmit(descriptor, bytes)
    switch outcome {
    case .value(let count):
      unannounced = UInt32(clamping: Int(unannounced) + count)
      if unannounced > 16384 { flags.insert(.wroteMuch) }
      return outcome
    case .failed(let errnum):
      if outcome.wouldBlock {
        return .value(0)
      }
      writingFailed(Failure(CSC_CALL_WRITE, errno: errnum))
      return outcome
    }
  }

  /// The peer takes nothing any more. It may have sent something before, so the reading side ends the
  /// connection where it is at work.
  private func writingFailed(_ failure: Failure) {
    flags.insert(.writeBroken)
    noteUndelivered()
    output = nil
    watchWrite(false)
    record(failure)
    wakeWriter(.ready)
    guard let engine else {
      if currentState == .closing { becomeUnconnected() }
      return
    }
    guard !flags.contains(.watchingRead) else { return }
    // Not from within write(): its caller does not expect the socket to end under it.
    engine.later { [self] in
      guard flags.contains(.writeBroken), !flags.contains(.watchingRead) else { return }
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
    if output != nil {
      outputDone()
    }
  }

  /// Nothing is held any more.
  func outputDone() {
    output = nil
    watchWrite(false)
    if flags.contains(.writeEnded) {
      SystemCalls.endWriting(descriptor)
    }
    // The loop would, but what is sent by flush() it does not see.
    wakeWriter(.ready)
  }

  /// The loop says that there is room to write, that a connection attempt has ended, or a name lookup.
  func handleWritable(timedOut: Bool = false) {
    guard !timedOut || SystemCalls.isWritable(descriptor) else {
      return writeTimedOut()
    }
    switch currentState {
    case .hostLookup: continueLookup()
    case .connecting: continueConnecting()
    default:
      sendHeldBytes()
      announceWritten()
      finishClosingIfSent()
      wakeWriterIfDrained()
    }
  }

  func announceWritten() {
    guard unannounced > 0, !flags.contains(.inBytesWritten) else { return }
    let count = Int(unannounced)
    unannounced = 0
    guard let signal = existingDetails?.bytesWritten else { return }
    flags.insert(.inBytesWritten)
    signal.notify(count)
    flags.remove(.inBytesWritten)
    announceWrittenSoon()
  }

  /// From within write() nothing is announced: a handler that writes would call itself.
  private func announceWrittenSoon() {
    guard let signal = existingDetails?.bytesWritten, signal.isConnected, unannounced > 0,
      !flags.contains(.announcementDue), let engine
    else { return }
    flags.insert(.announcementDue)
    engine.later { [self] in
      flags.remove(.announcementDue)
      announceWritten()
    }
  }
}
