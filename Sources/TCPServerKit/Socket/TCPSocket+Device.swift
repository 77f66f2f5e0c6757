// SPDX-License-Identifier: Apache-2.0

/// What `QTcpSocket` has of `QIODevice`: looking at the input, skipping it, and reading it on trial.
extension TCPSocket {
  /// Whether nothing is left to read now; more may come. ``read(maxLength:)`` says whether it will.
  public var atEnd: Bool {
    requireLoopThread("TCPSocket.atEnd")
    return bytesHeld == 0
  }

  /// Whether there is a connection, one is being made, or input of one that has ended is left to read.
  public var isOpen: Bool {
    requireLoopThread("TCPSocket.isOpen")
    return currentState != .unconnected || bytesHeld > 0
  }

  /// Whether the socket has a descriptor: of a connection, of one that is being made, or of ``bind(address:port:)``.
  public var isValid: Bool {
    requireLoopThread("TCPSocket.isValid")
    return descriptor >= 0
  }

  /// Reads and throws away what has arrived, up to a number of bytes, without waiting.
  ///
  /// - Returns: how many bytes were skipped; 0 when nothing is there now; -1 when nothing will come any more.
  @discardableResult
  public func skip(_ maxLength: Int) -> Int {
    requireLoopThread("TCPSocket.skip(_:)")
    pull(atLeast: maxLength)
    if bytesHeld == 0 && isAtEnd { return -1 }
    let count = min(bytesHeld, max(maxLength, 0))
    consume(count)
    return count
  }

  // MARK: - Transactions

  /// Whether a transaction has been started and not ended.
  public var isTransactionStarted: Bool {
    requireLoopThread("TCPSocket.isTransactionStarted")
    return isInTransaction
  }

  /// For code that is on the loop already.
  var isInTransaction: Bool {
    existingDetails?.transaction != nil
  }

  /// Starts a read transaction: what is read from now on, without waiting, can be given back by
  /// ``rollbackTransaction()``. Does nothing when one has been started.
  ///
  /// For messages that arrive in pieces: read as if all were there, and roll back where it was not.
  ///
  /// ```swift
  /// socket.startTransaction()
  /// if let message = readMessage(from: socket) {
  ///   socket.commitTransaction()
  ///   handle(message)
  /// } else {
  ///   socket.rollbackTransaction()  // until the next readyRead
  /// }
  /// ```
  ///
  /// Reads that wait throw ``SocketError/operation`` meanwhile.
  public func startTransaction() {
    requireLoopThread("TCPSocket.startTransaction()")
    if !isInTransaction { details.transaction = [] }
  }

  /// Ends a transaction; what was read stays read.
  public func commitTransaction() {
    requireLoopThread("TCPSocket.commitTransaction()")
    existingDetails?.transaction = nil
  }

  /// Ends a transaction; what was read since its start can be read again.
  public func rollbackTransaction() {
    requireLoopThread("TCPSocket.rollbackTransaction()")
    guard let details = existingDetails, let bytes = exchange(&details.transaction, with: nil), !bytes.isEmpty
    else { return }
    unsafe bytes.withUnsafeBytes { unsafe prepend($0) }
  }

  /// Keeps what is being read, within a transaction.
  func recordRead(_ bytes: UnsafeRawBufferPointer) {
    unsafe existingDetails?.transaction?.append(contentsOf: bytes)
  }
}
