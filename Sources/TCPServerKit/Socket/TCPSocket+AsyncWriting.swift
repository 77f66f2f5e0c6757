/// Writing and ending with async/await, from any task as reading is.
extension TCPSocket {
  /// How many bytes the socket holds for a slow peer before an async write suspends; 64 KiB at first.
  public var writeHighWaterMark: Int {
    get {
      requireLoopThread("TCPSocket.writeHighWaterMark")
      return writeMarks.high
    }
    set {
      requireLoopThread("TCPSocket.writeHighWaterMark")
      waiters.settings.highWaterMark = max(newValue, 1)
    }
  }

  /// How few bytes must be left before a suspended write goes on; 16 KiB at first.
  public var writeLowWaterMark: Int {
    get {
      requireLoopThread("TCPSocket.writeLowWaterMark")
      return writeMarks.low
    }
    set {
      requireLoopThread("TCPSocket.writeLowWaterMark")
      waiters.settings.lowWaterMark = max(newValue, 0)
    }
  }

  /// For code that is on the loop already.
  var writeMarks: (high: Int, low: Int) {
    guard let settings = existingWaiters?.existingSettings else { return (65536, 16384) }
    return (settings.highWaterMark, settings.lowWaterMark)
  }

  /// Writes bytes, suspending while the peer is slow: never more than ``writeHighWaterMark`` bytes are held.
  ///
  /// Several tasks may write at once: each write goes out whole, in the order of the calls.
  ///
  /// - Parameters:
  ///   - bytes: what to write.
  ///   - timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  /// - Returns: the number of bytes, all of them.
  /// - Throws: ``SocketError/remoteHostClosed`` and its kind when the connection broke, ``SocketError/socketTimeout``.
  ///   ``bytesOfFailedWrite`` is then how much went out.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write throws `CancellationError`, unless all is written. What had not gone to the kernel is not sent.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. On the socket's event base it suspends only for a slow peer, and after each 1 MiB or
  /// 256 calls in a row, when the loop's other sockets have their turn.
  @discardableResult
  public func write(_ bytes: [UInt8], timeout: Duration? = nil) async throws -> Int {
    try await writing(bytes.count, timeout) { socket, written in
      try unsafe bytes.withUnsafeBytes { unsafe try socket.accept($0, from: written) }
    }
  }

  /// Writes bytes, as ``write(_:timeout:)-([UInt8],_)`` does.
  ///
  /// - Parameters:
  ///   - bytes: `Data`, a slice, a text's `utf8`, a buffer: what has its bytes in one piece of memory is not copied.
  ///   - timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write throws `CancellationError`, unless all is written. What had not gone to the kernel is not sent.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @discardableResult
  public func write(_ bytes: some Collection<UInt8>, timeout: Duration? = nil) async throws -> Int {
    // Elsewhere the bytes may be an actor's, which others change meanwhile.
    guard isOnLoop, bytes.withContiguousStorageIfAvailable({ _ in true }) ?? false else {
      return try await write(Array(bytes), timeout: timeout)
    }
    return try await writing(bytes.count, timeout) { socket, written in
      try bytes.withContiguousStorageIfAvailable {
        try unsafe socket.accept(UnsafeRawBufferPointer($0), from: written)
      } ?? 0
    }
  }

  /// Writes bytes, as ``write(_:timeout:)-([UInt8],_)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write throws `CancellationError`, unless all is written. What had not gone to the kernel is not sent.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @discardableResult
  public func write(_ bytes: RawSpan, timeout: Duration? = nil) async throws -> Int {
    try await writing(bytes.byteCount, timeout) { socket, written in
      try unsafe bytes.withUnsafeBytes { unsafe try socket.accept($0, from: written) }
    }
  }

  /// Writes a text in UTF-8, as ``write(_:timeout:)-([UInt8],_)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write throws `CancellationError`, unless all is written. What had not gone to the kernel is not sent.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @discardableResult
  public func write(_ text: String, timeout: Duration? = nil) async throws -> Int {
    var text = text
    text.makeContiguousUTF8()
    let utf8 = text.utf8
    return try await writing(utf8.count, timeout) { socket, written in
      unsafe try utf8.withContiguousStorageIfAvailable {
        try unsafe socket.accept(UnsafeRawBufferPointer($0), from: written)
      } ?? 0
    }
  }

  /// Writes several pieces one after the other, as one write: a head and a body reach the kernel in one system call.
  ///
  /// - Parameters:
  ///   - pieces: as many as there are; none of them is copied that the kernel takes at once.
  ///   - timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  ///
  /// ## Cancellation
  ///
  /// A cancelled write throws `CancellationError`, unless all is written. What had not gone to the kernel is not sent.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @discardableResult
  public func write(pieces: [[UInt8]], timeout: Duration? = nil) async throws -> Int {
    try await writing(pieces.reduce(0) { $0 + $1.count }, timeout) { socket, written in
      try socket.accept(pieces, from: written)
    }
  }

  /// Waits until a write would not have to wait for the peer: fewer than ``writeHighWaterMark`` bytes are held, and no
  /// other task is writing.
  ///
  /// - Parameter timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  /// - Throws: what ``write(_:timeout:)-([UInt8],_)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled wait throws `CancellationError`.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func waitUntilWritable(timeout: Duration? = nil) async throws {
    try await writing(0, timeout) { socket, _ in
      guard socket.mayWrite() else { throw socket.lastError }
      return 0
    }
  }

  /// How many bytes of the last `write` that did not write all of them, for an error or a cancellation, went to the
  /// kernel; 0 at first. To be read on the socket's event base.
  public var bytesOfFailedWrite: Int {
    requireLoopThread("TCPSocket.bytesOfFailedWrite")
    return existingWaiters?.existingSettings?.bytesOfFailedWrite ?? 0
  }

  /// Waits until the kernel has everything that was written, by whichever call.
  ///
  /// - Parameter timeout: the longest silence of the peer, in which it acknowledges no byte; nil sets no limit.
  /// - Throws: what ``write(_:timeout:)-([UInt8],_)`` does; the connection broke with bytes that were still held.
  ///
  /// ## Cancellation
  ///
  /// Throws `CancellationError`, as after a timeout the bytes go on being sent. With nothing to wait for it returns all
  /// the same.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func waitUntilWritten(timeout: Duration? = nil) async throws {
    guard isOnLoop, output == nil else {
      return try await onLoop { try await $0.waitUntilAllSent(timeout) }
    }
    try checkUnbroken(flags.isDisjoint(with: [.writeBroken, .broken]))
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

  /// Connects to a host by name or address, and waits for it.
  ///
  /// - Throws: what ``connectToHost(_:port:)-(String,_)`` reports, and ``SocketError/socketTimeout``.
  ///
  /// ## Cancellation
  ///
  /// Gives up the attempt and throws `CancellationError`; the socket is unconnected again.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. A name is looked up on a thread of its own.
  public func connect(to hostName: String, port: UInt16, timeout: Duration? = nil) async throws {
    try await onLoop { try await $0.connectAndWait(hostName, port, timeout) }
  }

  private func connectAndWait(_ hostName: String, _ port: UInt16, _ timeout: Duration?) async throws {
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
    guard currentState == .connected else { throw lastError }
  }

  // MARK: - The one loop of all writes

  /// Calls `part` on the loop until it has accepted all, and waits for the peer in between.
  ///
  /// - Parameters:
  ///   - written: how much was accepted before: this write has waited already, in a task that went on elsewhere.
  ///   - hasTurn: the task has waited for the writes before this one.
  ///   - part: sends or holds what it can of the bytes that follow the given number, and returns how many that were.
  ///     Called on the loop, where its caller may not be.
  @inline(__always) @discardableResult
  private func writing(
    _ count: Int,
    _ timeout: Duration?,
    resuming written: Int? = nil,
    hasTurn: Bool = false,
    _ part: (TCPSocket, Int) throws -> Int
  ) async throws -> Int {
    guard isOnLoop else { return try await writingElsewhere(count, timeout, written, part) }
    var accepted = written ?? 0
    if written != nil {
      try endWritersWait(accepted)
    } else if !hasTurn, try mustWaitForTurn() {
      return try await writingElsewhere(count, timeout, nil, part)
    }
    while true {
      do {
        accepted += try part(self, accepted)
        noteUse()
      } catch {
        nextWriter()
        throw error
      }
      if accepted == count && held < writeMarks.high {
        guard spendsTurnBudget(accepted), engine != nil else { break }
        // Cancelled or not, the bytes are written.
        beginRest(.writer)
        await suspend(.writer)
        guard isOnLoop else {
          await onLoop {
            try? $0.endWait(.writer); $0.nextWriter()
          }
          return count
        }
        try? endWait(.writer)
        break
      }
      try beginWritersWait(timeout)
      await suspend(.writer)
      guard isOnLoop else { return try await writingElsewhere(count, timeout, accepted, part) }
      try endWritersWait(accepted)
    }
    nextWriter()
    return count
  }

  @inline(never)
  private func writingElsewhere(
    _ count: Int,
    _ timeout: Duration?,
    _ written: Int?,
    _ part: (TCPSocket, Int) throws -> Int
  ) async throws -> Int {
    try await onLoop { socket in
      if written == nil { try await socket.waitForTurn() }
      return try await socket.writing(count, timeout, resuming: written, hasTurn: true, part)
    }
  }

  /// Looks at the calling task, which is about to write.
  ///
  /// - Returns: whether others write before it.
  private func mustWaitForTurn() throws -> Bool {
    if recordServingTask(.writer) { throw cancelled() }
    guard let existingWaiters else { return false }
    guard !existingWaiters.writer.isTaken else { return true }
    guard let settings = existingWaiters.existingSettings else { return false }
    return settings.nextWriter != nil || !settings.writers.isEmpty
  }

  /// Suspends the calling task, which stays on the loop, while others write.
  private func waitForTurn() async throws {
    guard let engine else { return }
    guard try mustWaitForTurn() else { return }
    let settings = waiters.settings
    let waiter = settings.writers.add()
    let reason = await engine.suspend(on: waiter)
    settings.writers.remove(waiter)
    let isNext = settings.nextWriter === waiter
    if isNext { settings.nextWriter = nil }
    // The task that waits here is not the one that was noted last.
    if recordServingTask(.writer) || reason == .cancelled {
      if isNext { nextWriter() }
      throw cancelled()
    }
  }

  /// The task that writes has ended: the next in line may.
  private func nextWriter() {
    guard let settings = existingWaiters?.existingSettings, let next = settings.writers.first else { return }
    settings.nextWriter = next
    settings.writers.wakeFirst()
  }

  private func beginWritersWait(_ timeout: Duration?) throws {
    guard engine != nil else { throw refuseAsync("No event base to wait on") }
    beginWait(.writer)
    watchWrite(for: timeout)
  }

  /// The task that writes goes on.
  private func endWritersWait(_ accepted: Int) throws {
    do {
      try endWait(.writer)
      try checkUnbroken(!flags.contains(.writeBroken) && descriptor >= 0)
    } catch {
      // One task writes at a time, so what is held last is its own.
      let unsent = min(held, accepted)
      waiters.settings.bytesOfFailedWrite = accepted - unsent
      if error is CancellationError { takeBack(unsent) }
      nextWriter()
      throw error
    }
  }

  private func waitUntilAllSent(_ timeout: Duration?) async throws {
    if output != nil { try await waitForTurn() }
    defer { nextWriter() }
    while let held = output {
      try beginWritersWait(timeout)
      await suspend(.writer)
      try endWait(.writer)
      // Sent to the last byte, even if the connection has ended since; or lost with it.
      try checkUnbroken(held.count == 0 || output === held)
    }
    try checkUnbroken(flags.isDisjoint(with: [.writeBroken, .broken]))
  }

  private func checkUnbroken(_ isUnbroken: Bool) throws {
    guard isUnbroken else { throw lastError == .unknown ? .remoteHostClosed : lastError }
  }

  /// Sends or holds as much as the high-water mark allows of what follows the first bytes.
  private func accept(_ bytes: UnsafeRawBufferPointer, from start: Int) throws -> Int {
    guard mayWrite() else { throw lastError }
    let bytes = unsafe UnsafeRawBufferPointer(rebasing: bytes[start...])
    var sent = 0
    if output == nil && isEstablished {
      guard case .value(let count) = unsafe transmit(bytes) else { throw lastError }
      sent = count
    }
    return sent + (unsafe hold(UnsafeRawBufferPointer(rebasing: bytes[sent...])))
  }

  private func accept(_ pieces: [[UInt8]], from start: Int) throws -> Int {
    guard mayWrite() else { throw lastError }
    var accepted = start
    if output == nil && isEstablished {
      guard case .value(let count) = transmit(pieces, from: start) else { throw lastError }
      accepted += count
    }
    var skipped = 0
    for piece in pieces {
      let from = accepted - skipped
      skipped += piece.count
      guard from < piece.count else { continue }
      accepted += unsafe piece.withUnsafeBytes { unsafe hold(UnsafeRawBufferPointer(rebasing: $0[from...])) }
      guard accepted == skipped else { break }
    }
    return accepted - start
  }

  /// Keeps as much as the high-water mark allows; returns how much.
  private func hold(_ bytes: UnsafeRawBufferPointer) -> Int {
    let count = min(bytes.count, max(writeMarks.high - held, 0))
    if count > 0 {
      let queue = output ?? ByteQueue(capacity: count)
      unsafe queue.append(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
      output = queue
      if isEstablished { watchWrite(true) }
    }
    return count
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
