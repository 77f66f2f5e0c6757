// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Reading with async/await, from any task. On the socket's event base a read that finds data does not suspend, except
/// after each 1 MiB or 256 calls in a row, so that a fast peer leaves others their turn, and for the first one of an
/// accepted connection, to which data seldom comes with it; one that has to wait is woken by one job on the same thread. From elsewhere each call goes to the event base and back.
extension TCPSocket {
  /// Lends the next bytes to `body`: the fast form, which copies nothing and keeps no buffer while it waits.
  ///
  /// - Parameters:
  ///   - count: the most bytes to lend; the rest stays for the next read.
  ///   - timeout: how long to wait at most; nil waits as long as it takes.
  ///   - body: is given what has arrived, at most 64 KiB, and has then read it, also where it throws. The span is valid
  ///     only during the call. It runs where the caller does.
  /// - Returns: what `body` returned; nil when the peer has ended its side or the connection has ended.
  /// - Throws: ``SocketError/socketTimeout``; ``SocketError/operation`` when another task is reading, the socket's signals
  ///   have handlers, or the program has called ``abort()``; what ended the connection, if it did not end in order; what
  ///   `body` throws.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws `CancellationError`: `body` was not called, and no byte taken.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  @inlinable
  public func read<Result>(
    upTo count: Int = .max,
    timeout: Duration? = nil,
    _ body: (RawSpan) throws -> Result
  ) async throws -> Result? {
    // Inlined, so that the caller specialises what is generic.
    var result: Result?
    try await lendNext(count, timeout) { result = try body($0) }
    return result
  }

  /// Lends the next bytes to a `body` that may suspend, as ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// The bytes are copied once, because the loop's other sockets read into its buffer while `body` suspends.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws `CancellationError`: `body` was not called, and no byte taken. A `body` that has begun
  /// ends as it does by itself.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. `body` runs where the caller does.
  public func read<Result>(
    upTo count: Int = .max,
    timeout: Duration? = nil,
    _ body: (RawSpan) async throws -> Result
  ) async throws -> Result? {
    guard let bytes = try await read(maxLength: min(count, ReadBuffer.size), timeout: timeout) else {
      return nil
    }
    return unsafe try await body(bytes.span.bytes)
  }

  /// Reads into the caller's memory as soon as there is something.
  ///
  /// - Parameters:
  ///   - buffer: memory that stays valid until the call has returned.
  ///   - timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: the number of bytes; 0 when the peer has ended its side or the connection has ended, and for a buffer
  ///   without room.
  /// - Throws: what ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws `CancellationError`, and has taken no byte.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func read(
    into buffer: UnsafeMutableRawBufferPointer,
    timeout: Duration? = nil
  ) async throws -> Int {
    try await reading(timeout) { socket in unsafe try socket.receiveOnce(buffer) }
  }

  /// Reads some bytes as soon as there are any.
  ///
  /// - Parameters:
  ///   - maxLength: the most bytes to return.
  ///   - timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: at most `maxLength` bytes; nil when the peer has ended its side or the connection has ended.
  /// - Throws: what ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws `CancellationError`, and has taken no byte.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func read(maxLength: Int, timeout: Duration? = nil) async throws -> [UInt8]? {
    try await reading(timeout) { try $0.takeSome(maxLength) }
  }

  /// Reads a number of bytes, no fewer.
  ///
  /// - Parameters:
  ///   - count: how many. The socket holds them until they are complete.
  ///   - timeout: how long all of them may take together; those that came in time stay readable.
  /// - Returns: the bytes; nil when the input ended before the first of them.
  /// - Throws: ``SocketError/remoteHostClosed`` when it ended among them; those that came stay readable.
  ///   Otherwise what ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws `CancellationError`; those that came stay readable.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func read(exactly count: Int, timeout: Duration? = nil) async throws -> [UInt8]? {
    let wanted = max(count, 0)
    return try await reading(timeout) { socket -> [UInt8]?? in
      guard let found = try socket.buffered(atLeast: wanted) else { return nil }
      if found >= wanted { return socket.take(wanted) }
      guard found > 0 else { return .some(nil) }
      socket.record(.remoteHostClosed)
      throw SocketError.remoteHostClosed
    }
  }

  /// Reads a line, its newline included.
  ///
  /// - Parameters:
  ///   - maxLength: the most bytes to hold and return, the newline among them.
  ///   - timeout: how long the whole line may take; what came in time stays readable.
  /// - Returns: the line; the last one may lack its newline; nil when there is none any more.
  /// - Throws: ``SocketError/lineTooLong`` when the line has more than `maxLength` bytes: its beginning stays readable,
  ///   and never looks like a line of its own. Otherwise what ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled read throws `CancellationError`; what came of the line stays readable.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func readLine(
    maxLength: Int = 65536,
    timeout: Duration? = nil
  ) async throws -> [UInt8]? {
    try await readingLine(maxLength, timeout) { $0.take($1) }
  }

  /// - Parameter take: takes the line, which is so many bytes of what is unread.
  @inline(__always)
  func readingLine<Line>(
    _ maxLength: Int,
    _ timeout: Duration?,
    _ take: (TCPSocket, Int) -> Line
  ) async throws -> Line? {
    var searched = 0
    return try await reading(timeout) { socket -> Line?? in
      while true {
        if let newline = socket.unread(UInt8(ascii: "\n"), from: searched) {
          guard newline < max(maxLength, 1) else { throw socket.tooLong() }
          return take(socket, newline + 1)
        }
        searched = socket.bytesHeld
        guard let isMore = try socket.holdsMore(than: searched, maxLength) else { return nil }
        guard isMore else { return searched > 0 ? take(socket, searched) : .some(nil) }
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
  ///   ``SocketError/operation`` for an empty delimiter. Otherwise what
  ///   ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// ## Cancellation
  ///
  /// That of ``readLine(maxLength:timeout:)``.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func read(
    until delimiter: some Collection<UInt8>,
    maxLength: Int = 65536,
    timeout: Duration? = nil
  ) async throws -> [UInt8]? {
    try await readDelimited(Array(delimiter), maxLength, timeout)
  }

  private func readDelimited(_ delimiter: [UInt8], _ maxLength: Int, _ timeout: Duration?) async throws
    -> [UInt8]?
  {
    var searched = 0
    return try await reading(timeout) { socket -> [UInt8]?? in
      guard let last = delimiter.last else { throw socket.refuseAsync("An empty delimiter") }
      while true {
        while let end = socket.unread(last, from: searched) {
          searched = end + 1
          if unsafe socket.unreadBytes[..<searched].suffix(delimiter.count).elementsEqual(delimiter) {
            return try socket.takeDelimited(searched, maxLength)
          }
        }
        searched = socket.bytesHeld
        guard let isMore = try socket.holdsMore(than: searched, maxLength) else { return nil }
        guard isMore else { return searched > 0 ? socket.take(searched) : .some(nil) }
      }
    }
  }

  private func takeDelimited(_ count: Int, _ maxLength: Int) throws -> [UInt8] {
    guard count <= max(maxLength, 1) else { throw tooLong() }
    return take(count)
  }

  /// Whether there are more than `count` bytes; nil when more may come.
  private func holdsMore(than count: Int, _ maxLength: Int) throws -> Bool? {
    guard count < max(maxLength, 1) else { throw tooLong() }
    return try buffered(atLeast: count + 1).map { $0 > count }
  }

  private func tooLong() -> SocketError {
    record(Failure(.lineTooLong, "Line too long"))
    return .lineTooLong
  }

  /// Waits for the first byte of what comes next: the call at the border between two requests.
  ///
  /// ```swift
  /// while try await socket.waitForMessage() {
  ///   guard let line = try await socket.readLine() else { return }
  ///   try await socket.write(line)
  /// }
  /// ```
  ///
  /// It is the one wait that a graceful shutdown ends, and ``ConnectionPolicy/maximumAge``: a connection that is between
  /// two messages then is over, one in the middle of a message has until the deadline. When a shutdown begins, a client
  /// that has just connected has a second for its first byte.
  ///
  /// - Parameter timeout: how long to wait at most; nil waits as long as it takes.
  /// - Returns: whether there is something to read. False when the peer has ended its side, when the connection has
  ///   ended, and when no byte has come and the shutdown that `serve` was given (``GracefulShutdown/current``) has begun
  ///   or the connection is past its maximum age.
  /// - Throws: what ``read(upTo:timeout:_:)-9ncjp`` does.
  ///
  /// ## Cancellation
  ///
  /// A cancelled wait throws `CancellationError`.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func waitForMessage(timeout: Duration? = nil) async throws -> Bool {
    try await reading(timeout) { socket -> Bool? in
      if let found = try socket.buffered(atLeast: 1) {
        socket.waiters.messages = .had
        // It is also set where nothing had to be waited for.
        socket.waiters.isBetweenMessages = false
        return found > 0
      }
      if !socket.waiters.knowsMessages { socket.waiters.messages = .awaited }
      // The last read may have taken all that its turn allowed.
      if socket.endsBetweenMessages {
        return socket.hasSomethingToRead ? nil : false
      }
      socket.waiters.isBetweenMessages = true
      return nil
    }
  }
}
