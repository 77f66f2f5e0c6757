// SPDX-License-Identifier: Apache-2.0

/// Writing with async/await, from any task as reading is.
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
  /// - Throws: ``SocketError/remoteHostClosed`` and its kind when the connection broke, ``SocketError/socketTimeout``;
  ///   ``bytesOfFailedWrite`` is then how much went out; the rest is not sent, and may be written later.
  ///   ``SocketError/operation`` where the program has ended the connection, or its side, before.
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
      guard socket.mayWrite() else { throw socket.refuseWriter() }
      return 0
    }
  }

  /// How many bytes of the last `write` of a task that did not write all of them, for an error or a cancellation, went to
  /// the kernel; 0 at first. To be read on the socket's event base.
  ///
  /// The peer gets exactly those bytes of it. A program that wants it to get the others writes them:
  ///
  /// ```swift
  /// do {
  ///   try await socket.write(answer, timeout: .seconds(10))
  /// } catch SocketError.socketTimeout {
  ///   try await socket.write(answer[socket.bytesOfFailedWrite...], timeout: .seconds(60))
  /// }
  /// ```
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
    guard isOnLoop, output == nil, bytesInPipe == 0 else {
      return try await onLoop { try await $0.waitUntilAllSent(timeout) }
    }
    try checkUnbroken()
  }
}
