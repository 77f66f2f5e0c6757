// SPDX-License-Identifier: Apache-2.0

/// The one loop of all async writes.
extension TCPSocket {
  /// Calls `part` on the loop until it has accepted all, and waits for the peer in between.
  ///
  /// - Parameters:
  ///   - written: how much was accepted before: this write has waited already, in a task that went on elsewhere.
  ///   - hasTurn: the task has waited for the writes before this one.
  ///   - part: sends or holds what it can of the bytes that follow the given number, and returns how many that were.
  ///     Called on the loop, where its caller may not be.
  @inline(__always) @discardableResult
  func writing(
    _ count: Int,
    _ timeout: Duration?,
    resuming written: Int? = nil,
    hasTurn: Bool = false,
    _ part: (TCPSocket, Int) throws -> Int
  ) async throws -> Int {
    guard isOnLoop else { return try await writingElsewhere(count, timeout, written, part) }
    var accepted = written ?? 0
    if written != nil {
      try endWritersWait(accepted, of: count)
    } else if !hasTurn, try mustWaitForTurn(toWrite: count) {
      return try await writingElsewhere(count, timeout, nil, part)
    }
    while true {
      do {
        accepted += try part(self, accepted)
        noteUse()
      } catch {
        writeFailed(accepted, of: count)
        throw error
      }
      if accepted == count && sendable < writeMarks.high {
        guard spendsTurnBudget(accepted), engine != nil else { break }
        // Cancelled or not, the bytes are written.
        beginRest(.writer)
        await suspend(.writer)
        guard isOnLoop else {
          await onLoop {
            try? $0.endWait(.writer); $0.nextWriter(after: count)
          }
          return count
        }
        try? endWait(.writer)
        break
      }
      do {
        try beginWritersWait(timeout)
      } catch {
        writeFailed(accepted, of: count)
        throw error
      }
      if count > 0 {
        waiters.settings.isWriting = true
        waiters.settings.bytesDropped = 0
      }
      await suspend(.writer)
      guard isOnLoop else { return try await writingElsewhere(count, timeout, accepted, part) }
      try endWritersWait(accepted, of: count)
    }
    nextWriter(after: count)
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
      if written == nil { try await socket.waitForTurn(toWrite: count, timeout) }
      return try await socket.writing(count, timeout, resuming: written, hasTurn: true, part)
    }
  }

  /// Looks at the calling task, which is about to write.
  ///
  /// - Returns: whether others write before it.
  private func mustWaitForTurn(toWrite count: Int) throws -> Bool {
    if let settings = existingWaiters?.existingSettings {
      // The task that was noted last is the one that writes now.
      guard !settings.writer.isTaken, settings.nextWriter == nil, settings.writers.isEmpty else {
        return true
      }
    }
    if recordServingTask(.writer) {
      if count > 0 { noteNothingWritten() }
      throw cancelled()
    }
    return false
  }

  /// Suspends the calling task, which stays on the loop, while others write.
  private func waitForTurn(toWrite count: Int, _ timeout: Duration?) async throws {
    guard let engine else { return }
    guard try mustWaitForTurn(toWrite: count) else { return }
    let settings = waiters.settings
    let waiter = settings.writers.add()
    let timer = timeout.map { PeerSilenceTimer(engine, self, limit: $0) { waiter.wake(.timedOut) } }
    defer { withExtendedLifetime(timer) {} }
    let reason = await engine.suspend(on: waiter)
    settings.writers.remove(waiter)
    let isNext = settings.nextWriter === waiter
    if isNext { settings.nextWriter = nil }
    if reason == .ready, !recordServingTask(.writer) { return }
    if count > 0 { noteNothingWritten() }
    if isNext { nextWriter() }
    guard reason != .timedOut else {
      record(.timedOut)
      throw SocketError.socketTimeout
    }
    throw cancelled()
  }

  /// The task that writes has ended: the next in line may.
  ///
  /// - Parameter count: how many bytes it has written; 0 when it has failed.
  private func nextWriter(after count: Int = 0) {
    guard let settings = existingWaiters?.existingSettings else { return }
    settings.lostBytes = max(settings.lostBytes - count, 0)
    if exchange(&settings.isWriting, with: false) { holdWhatFollows() }
    guard let next = settings.writers.first else { return }
    settings.nextWriter = next
    settings.writers.wakeFirst()
  }

  /// What was written while a task's write waited has its turn.
  private func holdWhatFollows() {
    guard let output, let following = exchange(&output.following, with: nil) else { return }
    unsafe output.append(following.bytes)
    if isEstablished { watchWrite(true) }
  }

  private func beginWritersWait(_ timeout: Duration?) throws {
    try loopToWaitOn()
    beginWait(.writer)
    watchWrite(for: timeout)
  }

  /// The task that writes goes on.
  private func endWritersWait(_ accepted: Int, of count: Int) throws {
    do {
      try endWait(.writer)
      try checkUnbroken(!flags.contains(.writeBroken) && descriptor >= 0)
    } catch {
      writeFailed(accepted, of: count)
      throw error
    }
  }

  private func writeFailed(_ accepted: Int, of count: Int) {
    if count > 0 { noteFailedWrite(accepted, of: count) }
    nextWriter()
  }

  /// Takes back what is held of a write that has failed, so that its caller can go on after what went to the kernel.
  private func noteFailedWrite(_ accepted: Int, of count: Int) {
    guard accepted > 0 || existingWaiters?.existingSettings?.isWriting ?? false else {
      return noteNothingWritten()
    }
    let settings = waiters.settings
    // One task writes at a time, and what is written without waiting follows it: what is sent last is its own.
    // A record that has begun is sent whole.
    let unsent = min(output == nil ? settings.bytesDropped : max(sendable - begunBytes, 0), accepted)
    let sent = accepted - unsent
    settings.bytesOfFailedWrite = sent
    // A write of less than an earlier one has lost makes up for that one, in part.
    settings.lostBytes = max(settings.lostBytes, count) - sent
    takeBack(unsent)
  }

  /// A write has failed before its first byte.
  private func noteNothingWritten() {
    existingWaiters?.existingSettings?.bytesOfFailedWrite = 0
  }

  /// Whether the peer lacks bytes of writes that have failed, and so what it has got is no whole.
  var hasLostBytes: Bool {
    isEstablished && !flags.contains(.lingering) && existingWaiters?.existingSettings?.lostBytes ?? 0 > 0
  }

  /// Bytes were written without waiting.
  @inline(never) func makeUpForLostBytes(_ count: Int) {
    guard let settings = existingWaiters?.existingSettings else { return }
    settings.lostBytes = max(settings.lostBytes - count, 0)
  }

  func waitUntilAllSent(_ timeout: Duration?) async throws {
    guard output != nil || bytesInPipe > 0 else { return try checkUnbroken() }
    try await waitForTurn(toWrite: 0, timeout)
    defer { nextWriter() }
    while let held = output {
      try beginWritersWait(timeout)
      await suspend(.writer)
      try endWait(.writer)
      // Sent to the last byte, even if the connection has ended since; or lost with it.
      try checkUnbroken(held.count == 0 || output === held)
    }
    try checkUnbroken()
  }

  func checkUnbroken() throws {
    try checkUnbroken(flags.isDisjoint(with: [.writeBroken, .broken]))
  }

  private func checkUnbroken(_ isUnbroken: Bool) throws {
    guard isUnbroken else { throw lastError == .unknown ? .remoteHostClosed : lastError }
  }

  /// Sends or holds as much as the high-water mark allows of what follows the first bytes.
  func accept(_ bytes: UnsafeRawBufferPointer, from start: Int) throws -> Int {
    guard mayWrite() else { throw refuseWriter() }
    let bytes = unsafe UnsafeRawBufferPointer(rebasing: bytes[start...])
    var sent = 0
    if sendable == 0 && isEstablished {
      guard case .value(let count) = unsafe transmit(bytes) else { throw lastError }
      sent = count
    }
    return sent + (unsafe hold(UnsafeRawBufferPointer(rebasing: bytes[sent...])))
  }

  func accept(_ pieces: [[UInt8]], from start: Int) throws -> Int {
    guard mayWrite() else { throw refuseWriter() }
    var accepted = start
    if sendable == 0 && isEstablished {
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
    let count = min(bytes.count, max(max(writeMarks.high, begunBytes) - sendable, 0))
    if count > 0 {
      let queue = output ?? ByteQueue(capacity: count)
      unsafe queue.append(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
      output = queue
      if isEstablished { watchWrite(true) }
    }
    return count
  }

  /// Why `mayWrite()` said no. What Qt calls an unknown error, without a connection, would say nothing where it is thrown.
  @inline(never) func refuseWriter() -> SocketError {
    guard lastError == .unknown, !flags.contains(.broken) else { return lastError }
    return refuseAsync("Socket is not connected")
  }

  private func takeBack(_ count: Int) {
    guard count > 0, let output else { return }
    output.dropLast(count)
    if output.count == 0 && output.following == nil {
      outputDone()
      finishClosingIfSent()
    }
  }
}
