/// Writing and ending with async/await, on the socket's event base as reading is.
extension TCPSocket {
  /// How many bytes the socket holds for a slow peer before an async write suspends; 64 KiB at first.
  public var writeHighWaterMark: Int {
    get { waits?.existingSettings?.highWaterMark ?? 65536 }
    set { existingWaits.settings.highWaterMark = max(newValue, 1) }
  }

  /// How few bytes must be left before a suspended write goes on; 16 KiB at first.
  public var writeLowWaterMark: Int {
    get { waits?.existingSettings?.lowWaterMark ?? 16384 }
    set { existingWaits.settings.lowWaterMark = max(newValue, 0) }
  }

  /// Writes bytes, suspending while the peer is slow: never more than ``writeHighWaterMark`` bytes are held.
  ///
  /// - Parameters:
  ///   - bytes: what to write.
  ///   - timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  /// - Returns: the number of bytes written: all of them, unless the task was cancelled.
  /// - Throws: ``SocketError/remoteHostClosed`` and its kind when the connection broke,
  ///   ``SocketError/socketTimeout``, ``SocketError/operation`` when another task is writing.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write returns how many of its bytes went to the kernel; the rest is not held.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base. After each 1 MiB in a row that the
  /// kernel took at once, the loop's other sockets have their turn.
  @discardableResult
  public func write(_ bytes: [UInt8], timeout: Duration? = nil) async throws(SocketError) -> Int {
    engine?.assertOnLoopThread()
    try refuseSecondWriter()
    if noteTask(.writer) { return 0 }
    var accepted = 0
    while true {
      accepted += try unsafe bytes.span.bytes.withUnsafeBytes { bytes throws(SocketError) in
        unsafe try accept(UnsafeRawBufferPointer(rebasing: bytes[accepted...]))
      }
      if accepted == bytes.count && bytesToWrite < writeHighWaterMark {
        if usesUpTurn(accepted) { await letOthersRun() }
        return accepted
      }
      do {
        beginWait(.writer)
        watchWrite(for: timeout)
        try await suspend(.writer)
      } catch SocketError.unfinishedSocketOperation {
        // One task writes at a time, so what is held last is ours.
        let unsent = min(bytesToWrite, accepted)
        takeBack(unsent)
        return accepted - unsent
      }
      try checkUnbroken(!flags.contains(.writeBroken) && descriptor >= 0)
    }
  }

  /// Writes a text in UTF-8, as ``write(_:timeout:)-([UInt8],_)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write returns how many bytes of its UTF-8 went to the kernel; the rest is not held.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  @discardableResult
  public func write(_ text: String, timeout: Duration? = nil) async throws(SocketError) -> Int {
    try await write(Array(text.utf8), timeout: timeout)
  }

  /// Waits until the kernel has everything that was written, by whichever call.
  ///
  /// - Parameter timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  /// - Throws: what ``write(_:timeout:)-([UInt8],_)`` does; the connection broke with bytes that were still held.
  ///
  /// ## Cancellation
  ///
  /// Throws ``SocketError/unfinishedSocketOperation``, as after a timeout the bytes go on being sent. With nothing
  /// to wait for it returns all the same.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  public func waitUntilWritten(timeout: Duration? = nil) async throws(SocketError) {
    engine?.assertOnLoopThread()
    guard output != nil else {
      return try checkUnbroken(flags.isDisjoint(with: [.writeBroken, .broken]))
    }
    try refuseSecondWriter()
    if noteTask(.writer) { throw cancelled() }
    while let held = output {
      beginWait(.writer)
      watchWrite(for: timeout)
      try await suspend(.writer)
      // Sent to the last byte, even if the connection has ended since; or lost with it.
      try checkUnbroken(held.count == 0 || output === held)
    }
  }

  /// Ends the connection in order, as ``disconnectFromHost()`` does, and waits for it.
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
  /// Runs where its caller does, which must be on the socket's event base.
  @discardableResult
  public func closeGracefully(timeout: Duration? = nil) async -> Bool {
    if let timeout { deliveryTimeout = timeout }
    disconnectFromHost()
    if currentState != .unconnected {
      do {
        try await waitForStateChange(nil)
      } catch {
        endNow()
      }
    }
    return flags.isDisjoint(with: [.undelivered, .writeBroken, .broken])
  }

  /// Connects to a host by name or address, and waits for it.
  ///
  /// - Throws: what ``connectToHost(_:port:)-(String,_)`` reports, and ``SocketError/socketTimeout``.
  ///
  /// ## Cancellation
  ///
  /// Gives up the attempt and throws ``SocketError/unfinishedSocketOperation``; the socket is unconnected again.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base. A name is looked up on a thread of its
  /// own.
  public func connect(to hostName: String, port: UInt16, timeout: Duration? = nil) async throws(SocketError) {
    guard currentState == .unconnected else {
      throw refuseAsync("connect() called when already connected or connecting")
    }
    connectToHost(hostName, port: port)
    if currentState != .connected {
      do {
        try await waitForStateChange(timeout)
      } catch {
        abort()
        throw error
      }
    }
    guard currentState == .connected else { throw error }
  }

  // MARK: -

  private func refuseSecondWriter() throws(SocketError) {
    if waits?.writer.isTaken ?? false {
      throw refuseAsync("Another task is writing to this socket")
    }
  }

  private func checkUnbroken(_ isUnbroken: Bool) throws(SocketError) {
    guard isUnbroken else { throw error == .unknown ? .remoteHostClosed : error }
  }

  /// Sends or holds as much as the high-water mark allows.
  private func accept(_ bytes: UnsafeRawBufferPointer) throws(SocketError) -> Int {
    guard mayWrite() else { throw error }
    var sent = 0
    if output == nil && isEstablished {
      guard case .value(let count) = unsafe transmit(bytes) else { throw error }
      sent = count
    }
    let held = min(bytes.count - sent, max(writeHighWaterMark - bytesToWrite, 0))
    if held > 0 {
      let queue = output ?? ByteQueue(capacity: held)
      unsafe queue.append(UnsafeRawBufferPointer(rebasing: bytes[sent..<sent + held]))
      output = queue
      if isEstablished { watchWrite(true) }
    }
    return sent + held
  }

  /// Goes on after the loop has looked at the other sockets.
  private func letOthersRun() async {
    guard let engine else { return }
    beginWait(.writer)
    engine.later { [self] in wakeWriter(.ready) }
    // Cancelled or not, the bytes are written.
    try? await suspend(.writer)
  }

  private func takeBack(_ count: Int) {
    guard count > 0, let output else { return }
    output.dropLast(count)
    if output.count == 0 {
      outputDone()
      finishClosingIfSent()
    }
  }
}
