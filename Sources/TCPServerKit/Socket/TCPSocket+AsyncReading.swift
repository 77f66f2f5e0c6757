internal import CServerCore

/// Reading with async/await. A read that finds data does not suspend, except after each 1 MiB in a row, so that a
/// fast peer leaves others their turn; one that has to wait is woken by one job on the same thread.
extension TCPSocket {
  /// Lends the next bytes to `body`: the fast form, which copies nothing and keeps no buffer while it waits.
  ///
  /// - Parameters:
  ///   - timeout: how long to wait at most; nil waits as long as it takes.
  ///   - body: is given all that has arrived, at most 64 KiB, and has then read it. The span is valid only
  ///     during the call.
  /// - Returns: what `body` returned; nil when the peer has ended its side or the connection has ended.
  /// - Throws: ``SocketError/socketTimeout``; ``SocketError/operation`` when another task is reading or the
  ///   socket's signals have handlers; what ended the connection, if it did not end in order.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws ``SocketError/unfinishedSocketOperation``: `body` was not called, and no byte taken.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, `body` included, which must be on the socket's event base.
  @inlinable
  public func read<Result>(
    timeout: Duration? = nil,
    _ body: (RawSpan) -> Result
  ) async throws(SocketError) -> Result? {
    // Inlined, so that what is generic is made for its type by whoever calls it.
    var result: Result?
    try await lendNext(timeout) { result = body($0) }
    return result
  }

  /// The part of ``read(timeout:_:)`` that is the same for all.
  @usableFromInline
  func lendNext(_ timeout: Duration?, to body: (RawSpan) -> Void) async throws(SocketError) {
    try beginReading(timeout)
    while try !lendOnce(to: body) {
      try await waitForInput()
    }
  }

  /// Reads into the caller's memory as soon as there is something.
  ///
  /// - Parameters:
  ///   - buffer: memory that stays valid until the call has returned.
  ///   - timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: the number of bytes; 0 when the peer has ended its side or the connection has ended.
  /// - Throws: what ``read(timeout:_:)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws ``SocketError/unfinishedSocketOperation``, and has taken no byte.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  public func read(
    into buffer: UnsafeMutableRawBufferPointer,
    timeout: Duration? = nil
  ) async throws(SocketError) -> Int {
    try beginReading(timeout)
    // The kernel's answer to a read of nothing looks like an end.
    guard buffer.count > 0 else { return 0 }
    while true {
      if let count = unsafe try receiveOnce(buffer) {
        return count
      }
      try await waitForInput()
    }
  }

  /// Reads some bytes as soon as there are any.
  ///
  /// - Parameters:
  ///   - maxLength: the most bytes to return.
  ///   - timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: at most `maxLength` bytes; nil when the peer has ended its side or the connection has ended.
  /// - Throws: what ``read(timeout:_:)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws ``SocketError/unfinishedSocketOperation``, and has taken no byte.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  public func read(maxLength: Int, timeout: Duration? = nil) async throws(SocketError) -> [UInt8]? {
    try beginReading(timeout)
    guard try await buffered(atLeast: 1) > 0 else { return nil }
    return take(min(bytesAvailable, max(maxLength, 0)))
  }

  /// Reads a number of bytes, no fewer.
  ///
  /// - Parameters:
  ///   - count: how many. The socket holds them until they are complete.
  ///   - timeout: how long all of them may take together; those that came in time stay readable.
  /// - Returns: the bytes; nil when the input ended before the first of them.
  /// - Throws: ``SocketError/remoteHostClosed`` when it ended among them; those that came stay readable.
  ///   Otherwise what ``read(timeout:_:)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws ``SocketError/unfinishedSocketOperation``; those that came stay readable.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  public func read(exactly count: Int, timeout: Duration? = nil) async throws(SocketError) -> [UInt8]? {
    let wanted = max(count, 0)
    try beginReading(timeout)
    let found = try await buffered(atLeast: wanted)
    guard found >= wanted else {
      if found == 0 { return nil }
      record(.remoteHostClosed)
      throw .remoteHostClosed
    }
    return take(wanted)
  }

  /// Reads a line, its newline included.
  ///
  /// - Parameters:
  ///   - maxLength: the most bytes to hold and return, the newline among them.
  ///   - timeout: how long the whole line may take; what came in time stays readable.
  /// - Returns: the line; the last one may lack its newline; nil when there is none any more.
  /// - Throws: ``SocketError/lineTooLong`` when the line has more than `maxLength` bytes: its beginning stays readable,
  ///   and never looks like a line of its own. Otherwise what ``read(timeout:_:)`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read that lacks a part of the line throws ``SocketError/unfinishedSocketOperation``; what came of
  /// it stays readable. A line that is complete in the socket is returned all the same.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  public func readLine(
    maxLength: Int = 65536,
    timeout: Duration? = nil
  ) async throws(SocketError) -> [UInt8]? {
    try beginReading(timeout)
    var searched = 0
    while true {
      if let newline = unsafe unreadBytes.dropFirst(searched).firstIndex(of: UInt8(ascii: "\n")) {
        return try takeDelimited(newline + 1, maxLength)
      }
      searched = bytesAvailable
      guard try await buffersMore(than: searched, maxLength) else {
        return searched > 0 ? take(searched) : nil
      }
    }
  }

  /// Reads up to a delimiter, which may be of several bytes, the delimiter included.
  ///
  /// ```swift
  /// let head = try await socket.read(until: "\r\n\r\n".utf8)
  /// ```
  ///
  /// - Parameters:
  ///   - delimiter: one byte or more.
  ///   - maxLength: the most bytes to hold and return, the delimiter among them.
  ///   - timeout: how long all of it may take; what came in time stays readable.
  /// - Returns: the bytes; at the end of the input what is left, without a delimiter; nil when there is none any more.
  /// - Throws: ``SocketError/lineTooLong`` when there is no delimiter within `maxLength` bytes, which stay readable;
  ///   ``SocketError/operation`` for an empty delimiter. Otherwise what ``read(timeout:_:)`` does.
  ///
  /// ## Cancellation
  ///
  /// That of ``readLine(maxLength:timeout:)``.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the socket's event base.
  public func read(
    until delimiter: some Collection<UInt8>,
    maxLength: Int = 65536,
    timeout: Duration? = nil
  ) async throws(SocketError) -> [UInt8]? {
    try await readDelimited(Array(delimiter), maxLength, timeout)
  }

  private func readDelimited(
    _ delimiter: [UInt8],
    _ maxLength: Int,
    _ timeout: Duration?
  ) async throws(SocketError) -> [UInt8]? {
    guard let last = delimiter.last else { throw refuseAsync("An empty delimiter") }
    try beginReading(timeout)
    var searched = 0
    while true {
      while let end = unsafe unreadBytes.dropFirst(searched).firstIndex(of: last) {
        searched = end + 1
        if unsafe unreadBytes[..<searched].suffix(delimiter.count).elementsEqual(delimiter) {
          return try takeDelimited(searched, maxLength)
        }
      }
      searched = bytesAvailable
      guard try await buffersMore(than: searched, maxLength) else {
        return searched > 0 ? take(searched) : nil
      }
    }
  }

  private func takeDelimited(_ count: Int, _ maxLength: Int) throws(SocketError) -> [UInt8] {
    guard count <= max(maxLength, 1) else { throw tooLong() }
    return take(count)
  }

  /// Waits for more than `count` bytes; false when none come any more.
  private func buffersMore(than count: Int, _ maxLength: Int) async throws(SocketError) -> Bool {
    guard count < max(maxLength, 1) else { throw tooLong() }
    return try await buffered(atLeast: count + 1) > count
  }

  private func tooLong() -> SocketError {
    record(Failure(.lineTooLong, "Line too long"))
    return .lineTooLong
  }

  // MARK: -

  /// A timeout begins with the first wait of a call and spans all of them.
  @inline(never) private func beginReading(_ timeout: Duration?) throws(SocketError) {
    try checkReader()
    if timeout != nil || waits?.existingSettings?.readPatience != nil {
      existingWaits.settings.readPatience = timeout.map { SocketWaits.Patience($0) }
    }
  }

  private func checkReader() throws(SocketError) {
    engine?.assertOnLoopThread()
    if flags.contains(.wantsInput) {
      throw refuseReader()
    }
    if waits?.reader.isTaken ?? false {
      throw refuseAsync("Another task is reading from this socket")
    }
    if isTransactionStarted {
      throw refuseAsync("A read that waits within a transaction")
    }
    // Not before: another one may be reading, which is not to be confused with this one.
    if noteTask(.reader) { throw cancelled() }
  }

  /// Makes `count` bytes available here, or as many as come before the end; returns how many there are.
  private func buffered(atLeast count: Int) async throws(SocketError) -> Int {
    while bytesAvailable < count && !isAtEnd {
      if !flags.contains(.drained) {
        let before = bytesAvailable
        switch receiveIntoQueue(roomFor: count - before) {
        case .bytes:
          if usesUpTurn(bytesAvailable - before) { flags.insert(.drained) }
          continue
        case .end: continue
        case .nothing: break
        case .failed(let errnum): throw broke(errnum)
        }
      }
      try await waitForInput()
    }
    if bytesAvailable == 0 {
      _ = try hasEnded()
    }
    return bytesAvailable
  }

  /// Lends what there is; false when there is nothing yet.
  @inline(never) private func lendOnce(to body: (RawSpan) -> Void) throws(SocketError) -> Bool {
    if bytesAvailable > 0 {
      lendUnread(to: body)
      return true
    }
    if try hasEnded() { return true }
    guard let scratch = engine?.scratch, !flags.contains(.drained) else { return false }
    let memory = unsafe scratch.take()
    let outcome = unsafe SystemCalls.receive(descriptor, into: memory)
    if case .value(let count) = outcome, count > 0 {
      noteReceived(count, room: memory.count)
      unsafe scratch.whileRead(UnsafeRawBufferPointer(rebasing: memory[..<count]), body)
      return true
    }
    try handleUnread(outcome)
    return try hasEnded()
  }

  /// Reads once into the caller's memory: the number of bytes, 0 at the end; nil when there is nothing yet.
  @inline(never) private func receiveOnce(
    _ buffer: UnsafeMutableRawBufferPointer
  ) throws(SocketError) -> Int? {
    if bytesAvailable > 0 {
      let count = min(bytesAvailable, buffer.count)
      unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: unreadBytes[..<count]))
      consume(count)
      return count
    }
    if try hasEnded() { return 0 }
    guard !flags.contains(.drained) else { return nil }
    let outcome = unsafe SystemCalls.receive(descriptor, into: buffer)
    if case .value(let count) = outcome, count > 0 {
      noteReceived(count, room: buffer.count)
      return count
    }
    try handleUnread(outcome)
    return try hasEnded() ? 0 : nil
  }

  private func noteReceived(_ count: Int, room: Int) {
    if usesUpTurn(count) || count < room {
      flags.insert(.drained)
    }
  }

  /// After a read that brought nothing: the end, nothing yet, or a failure.
  private func handleUnread(_ outcome: SystemCalls.Outcome) throws(SocketError) {
    switch outcome {
    case .value: noteInputEnded()
    case .failed(let errnum):
      if !outcome.wouldBlock { throw broke(errnum) }
    }
  }

  private func waitForInput() async throws(SocketError) {
    try prepareToWaitForInput()
    try await suspend(.reader)
  }

  @inline(never) private func prepareToWaitForInput() throws(SocketError) {
    // They may have been connected while this task waited.
    guard !flags.contains(.wantsInput) else { throw refuseReader() }
    flags.remove(.drained)
    beginWait(.reader)
    watchRead(for: waits?.existingSettings?.readPatience?.begin())
  }

  private func refuseReader() -> SocketError {
    refuseAsync("The socket's signals have handlers, which read already")
  }

  private func broke(_ errnum: CInt) -> SocketError {
    let failure = Failure(CSC_CALL_READ, errno: errnum)
    connectionFailed(failure)
    return failure.error
  }

  /// Whether nothing will come any more. That is no error, unless the connection was cut.
  private func hasEnded() throws(SocketError) -> Bool {
    if descriptor < 0, flags.contains(.broken) {
      throw error
    }
    return isAtEnd
  }
}
