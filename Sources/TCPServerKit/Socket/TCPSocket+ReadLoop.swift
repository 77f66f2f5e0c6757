// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// The one loop of all async reads.
extension TCPSocket {
  /// Calls `step` on the loop until it has a result, and waits for input in between.
  ///
  /// - Parameters:
  ///   - timeout: begins with the first wait and spans all of them.
  ///   - isResumed: this read has waited already, in a task that went on elsewhere.
  ///   - step: returns nil when it needs more input. Called on the loop, where its caller may not be: it touches nothing
  ///     of the caller's.
  @inline(__always)
  func reading<Result>(
    _ timeout: Duration?,
    isResumed: Bool = false,
    _ step: (TCPSocket) throws -> Result?
  ) async throws -> Result {
    guard isOnLoop else { return try await readingElsewhere(timeout, isResumed: isResumed, step) }
    if isResumed {
      try endWait(.reader)
    } else if try beginReading(timeout) {
      await suspend(.reader)
      // The timeout has begun.
      guard isOnLoop else { return try await readingElsewhere(nil, isResumed: true, step) }
      try endWait(.reader)
    }
    while true {
      if let result = try step(self) { return result }
      try prepareToWaitForInput()
      await suspend(.reader)
      guard isOnLoop else { return try await readingElsewhere(nil, isResumed: true, step) }
      try endWait(.reader)
    }
  }

  @inline(never)
  private func readingElsewhere<Result>(
    _ timeout: Duration?,
    isResumed: Bool,
    _ step: (TCPSocket) throws -> Result?
  ) async throws -> Result {
    try await onLoop { try await $0.reading(timeout, isResumed: isResumed, step) }
  }

  /// The part of `read(upTo:timeout:_:)` that is the same for all.
  ///
  /// `body` is its caller's: where that is not on the loop, another task could be at the same actor while it ran there.
  @usableFromInline
  func lendNext(_ count: Int, _ timeout: Duration?, to body: (RawSpan) throws -> Void) async throws {
    guard isOnLoop else { return try await lendFromElsewhere(count, timeout, isResumed: false, to: body) }
    if try !beginReading(timeout) {
      if try lendOnce(count, to: body) { return }
      try prepareToWaitForInput()
    }
    while true {
      await suspend(.reader)
      // The timeout has begun.
      guard isOnLoop else { return try await lendFromElsewhere(count, nil, isResumed: true, to: body) }
      try endWait(.reader)
      if try lendOnce(count, to: body) { return }
      try prepareToWaitForInput()
    }
  }

  /// Apart, because what a waiting read keeps on its task's stack is what an idle connection costs.
  @inline(never)
  private func lendFromElsewhere(
    _ count: Int,
    _ timeout: Duration?,
    isResumed: Bool,
    to body: (RawSpan) throws -> Void
  ) async throws {
    let most = min(count, ReadBuffer.size)
    let bytes = try await readingElsewhere(timeout, isResumed: isResumed) { try $0.takeSome(most) }
    if let bytes { unsafe try body(bytes.span.bytes) }
  }

  /// What ``read(maxLength:timeout:)`` does each time there may be something; nil when it has to wait.
  func takeSome(_ maxLength: Int) throws -> [UInt8]?? {
    guard let found = try buffered(atLeast: 1) else { return nil }
    guard found > 0 else { return .some(nil) }
    return take(min(found, max(maxLength, 0)))
  }

  /// - Returns: whether the task has had its turn, and is to suspend before it reads.
  @inline(never) private func beginReading(_ timeout: Duration?) throws -> Bool {
    try checkReader()
    let isLimited: Void? = withExistingWaiters {
      $0.limitRead(to: timeout)
      $0.isBetweenMessages = false
    }
    if isLimited == nil, let timeout { waiters.limitRead(to: timeout) }
    // One that is drained waits, which watches it.
    if !flags.contains(.drained) { noteUse() }
    guard usesUpTurnByCall(), engine != nil else { return false }
    beginRest(.reader)
    return true
  }

  private func checkReader() throws {
    if flags.contains(.wantsInput), !leaveInputToTasks() {
      throw refuseReader()
    }
    if withExistingWaiters({ $0.reader.isTaken }) ?? false {
      throw refuseAsync("Another task is reading from this socket")
    }
    if isInTransaction {
      throw refuseAsync("A read that waits within a transaction")
    }
    // Not before: another one may be reading, which is not to be confused with this one.
    if recordServingTask(.reader) { throw cancelled() }
  }

  /// Makes `count` bytes available here, or as many as come before the end.
  ///
  /// - Returns: how many there are; nil when more may come.
  func buffered(atLeast count: Int) throws -> Int? {
    while bytesHeld < count && !isAtEnd {
      guard !flags.contains(.drained) else { return nil }
      let before = bytesHeld
      switch receiveIntoQueue(roomFor: count - before) {
      case .bytes(let isAll):
        if spendsTurnBudget(bytesHeld - before) || isAll { flags.insert(.drained) }
      case .end: break
      case .nothing: return nil
      case .failed(let errnum): throw broke(errnum)
      }
    }
    if bytesHeld == 0 {
      _ = try hasEnded()
    }
    return bytesHeld
  }

  /// Lends what there is; false when there is nothing yet.
  @inline(never) private func lendOnce(_ most: Int, to body: (RawSpan) throws -> Void) throws -> Bool {
    guard most > 0 else {
      guard let bytes = try takeSome(0) else { return false }
      if let bytes { unsafe try body(bytes.span.bytes) }
      return true
    }
    let held = bytesHeld
    if held > 0 {
      if held > most {
        unsafe try body(take(most).span.bytes)
      } else {
        try lendUnread(to: body)
      }
      return true
    }
    if try hasEnded() { return true }
    guard let readBuffer, !flags.contains(.drained) else { return false }
    let memory = unsafe UnsafeMutableRawBufferPointer(
      rebasing: readBuffer.take()[..<min(most, ReadBuffer.size)]
    )
    let outcome = unsafe receiveBytes(into: memory)
    if case .value(let count) = outcome, count > 0 {
      noteReceived(count, room: memory.count)
      unsafe try readBuffer.whileRead(UnsafeRawBufferPointer(rebasing: memory[..<count]), body)
      return true
    }
    try handleUnread(outcome)
    return try hasEnded()
  }

  /// Reads once into the caller's memory: the number of bytes, 0 at the end; nil when there is nothing yet.
  @inline(never) func receiveOnce(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int? {
    guard buffer.count > 0 else { return 0 }
    if bytesHeld > 0 {
      let count = min(bytesHeld, buffer.count)
      unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: unreadBytes[..<count]))
      consume(count)
      return count
    }
    if try hasEnded() { return 0 }
    guard !flags.contains(.drained) else { return nil }
    let outcome = unsafe receiveBytes(into: buffer)
    if case .value(let count) = outcome, count > 0 {
      noteReceived(count, room: buffer.count)
      return count
    }
    try handleUnread(outcome)
    return try hasEnded() ? 0 : nil
  }

  private func noteReceived(_ count: Int, room: Int) {
    if spendsTurnBudget(count) || count < room {
      flags.insert(.drained)
    }
  }

  /// After a read that brought nothing: the end, nothing yet, or a failure.
  func handleUnread(_ outcome: SystemCalls.Outcome) throws {
    switch outcome {
    case .value: noteInputEnded()
    case .failed(let errnum):
      if !outcome.wouldBlock { throw broke(errnum) }
    }
  }

  @inline(never) private func prepareToWaitForInput() throws {
    // They may have been connected while this task waited.
    guard !flags.contains(.wantsInput) else { throw refuseReader() }
    try loopToWaitOn()
    flags.remove(.drained)
    beginWait(.reader)
    watchRead(for: withExistingWaiters { $0.beginReadDeadline() } ?? nil)
  }

  private func refuseReader() -> SocketError {
    refuseAsync("The socket's signals have handlers, which read already")
  }

  private func broke(_ errnum: CInt) -> SocketError {
    let failure = failure(of: CSC_CALL_READ, errnum)
    connectionFailed(failure)
    return failure.error
  }

  /// Whether nothing will come any more. That is no error, unless the connection was cut.
  func hasEnded() throws -> Bool {
    if descriptor < 0 { try checkEnd() }
    return isAtEnd
  }

  @inline(never) private func checkEnd() throws {
    if flags.contains(.broken) { throw lastError }
    // A relay has an error of its own for that.
    if existingWaiters?.isAborted ?? false, existingDetails?.relay == nil {
      throw refuseAsync("The connection was aborted by this program")
    }
  }
}
