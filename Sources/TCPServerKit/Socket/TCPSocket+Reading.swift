// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Reading. Bytes wait in one of three places: the kernel, the loop's read buffer while handlers run, and
/// `input` once they were left unread.
extension TCPSocket {
  /// How many bytes the socket may hold unread: 0, the default, sets no limit.
  ///
  /// When the limit is reached the rest stays in the kernel, which slows the peer down; reading resumes as
  /// soon as there is room or the limit changes. Set one where ``readyRead`` has a handler that may leave bytes
  /// unread: without it the peer decides how much memory they take. An `async` call that asks for more bytes than
  /// the limit, or for a longer line, gets them.
  public var readBufferSize: Int {
    get {
      requireLoopThread("TCPSocket.readBufferSize")
      return inputLimit
    }
    set {
      requireLoopThread("TCPSocket.readBufferSize")
      details.readBufferSize = max(newValue, 0)
      updateReadWatch()
    }
  }

  /// How many unread bytes the socket holds. Still valid after the connection has ended.
  public var bytesAvailable: Int {
    requireLoopThread("TCPSocket.bytesAvailable")
    return bytesHeld
  }

  /// For code that is on the loop already.
  @inline(__always) var bytesHeld: Int {
    if let input {
      return input.count
    }
    guard let readBuffer, readBuffer.isLent(to: self) else { return 0 }
    return readBuffer.unread.count
  }

  /// Whether an unread line, up to its newline, is complete.
  public var canReadLine: Bool {
    requireLoopThread("TCPSocket.canReadLine")
    return unreadNewline() != nil
  }

  /// Reads what has arrived, up to a number of bytes, without waiting.
  ///
  /// - Returns: the bytes; empty when nothing is there now; nil when nothing will come any more, because the
  ///   peer has ended its side or the connection has ended, and all was read.
  public func read(maxLength: Int) -> [UInt8]? {
    requireLoopThread("TCPSocket.read(maxLength:)")
    pull(atLeast: maxLength)
    let count = min(bytesHeld, max(maxLength, 0))
    if bytesHeld == 0 && isAtEnd {
      return nil
    }
    return take(count)
  }

  /// Reads into the caller's memory, without waiting.
  ///
  /// - Returns: how many bytes were read; 0 when nothing is there now; -1 when nothing will come any more.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    requireLoopThread("TCPSocket.read(into:)")
    pull(atLeast: buffer.count)
    let count = min(bytesHeld, buffer.count)
    if bytesHeld == 0 && isAtEnd {
      return -1
    }
    unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: unreadBytes[..<count]))
    consume(count)
    return count
  }

  /// Reads everything that has arrived, without waiting; empty when there is nothing, or after ``close()``.
  public func readAll() -> [UInt8] {
    requireLoopThread("TCPSocket.readAll()")
    if !flags.contains(.inReadyRead) { pull(atLeast: .max) }
    return take(bytesHeld)
  }

  /// Lends everything that has arrived to `body`, without waiting and without copying it.
  ///
  /// - Parameter body: is given the bytes, at least one, which count as read from then on: what it reads of the
  ///   socket itself comes after them. The span is valid only during the call. Not called where nothing has arrived.
  public func readAll(_ body: (RawSpan) -> Void) {
    requireLoopThread("TCPSocket.readAll(_:)")
    if !flags.contains(.inReadyRead) { pull(atLeast: .max) }
    if bytesHeld > 0 {
      lendUnread(to: body)
    }
  }

  /// Reads a line, its newline included, without waiting.
  ///
  /// - Parameter maxLength: the most bytes to return; the rest of a longer line is the next one.
  /// - Returns: the line; where no newline has arrived, whatever is there; nil when nothing will come any
  ///   more.
  public func readLine(maxLength: Int = .max) -> [UInt8]? {
    requireLoopThread("TCPSocket.readLine(maxLength:)")
    if unreadNewline() == nil { pull(atLeast: maxLength) }
    if bytesHeld == 0 && isAtEnd {
      return nil
    }
    let line = unreadNewline().map { $0 + 1 } ?? bytesHeld
    return take(min(line, max(maxLength, 0)))
  }

  /// Returns what ``read(maxLength:)`` would, without taking it.
  public func peek(maxLength: Int) -> [UInt8] {
    requireLoopThread("TCPSocket.peek(maxLength:)")
    pull(atLeast: maxLength)
    let count = min(bytesHeld, max(maxLength, 0))
    return unsafe Array(unreadBytes[..<count])
  }

  // MARK: - The buffer

  private var inputLimit: Int {
    existingDetails?.readBufferSize ?? 0
  }

  var unreadBytes: UnsafeRawBufferPointer {
    if let input {
      return unsafe input.bytes
    }
    if let readBuffer, readBuffer.isLent(to: self) {
      return unsafe readBuffer.unreadBytes
    }
    return unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// Where a byte is for the first time in what is unread, from a position on.
  func unread(_ byte: UInt8, from start: Int) -> Int? {
    let bytes = unsafe unreadBytes
    guard start < bytes.count, let first = bytes.baseAddress,
      let found = unsafe memchr(first + start, CInt(byte), bytes.count - start)
    else { return nil }
    return unsafe first.distance(to: UnsafeRawPointer(found))
  }

  /// Where the first newline is. What was searched is not searched again: a peer may send a line in many pieces.
  private func unreadNewline() -> Int? {
    let newline = unread(UInt8(ascii: "\n"), from: input?.searched ?? 0)
    if let input { input.searched = newline ?? input.count }
    return newline
  }

  /// What was read ahead and not used: the next read finds it.
  func putBack(_ bytes: ArraySlice<UInt8>) {
    guard isOnLoop else { return post("TCPSocket.bytes") { $0.putBack(bytes) } }
    guard !flags.contains(.readClosed), !(existingWaiters?.isAborted ?? false) else { return }
    unsafe bytes.withUnsafeBytes { unsafe prepend($0) }
  }

  /// Has the next reads find these bytes first.
  func prepend(_ bytes: UnsafeRawBufferPointer) {
    saveLentBytes()
    let rest = input
    let queue = ByteQueue(capacity: bytes.count + (rest?.count ?? 0))
    unsafe queue.append(bytes)
    if let rest { unsafe queue.append(rest.bytes) }
    input = queue
    updateReadWatch()
  }

  var isAtEnd: Bool {
    descriptor < 0 || currentState == .closing || !flags.isDisjoint(with: [.inputEnded, .readClosed])
  }

  var roomForInput: Int {
    let limit = inputLimit
    return limit == 0 ? ReadBuffer.size : max(limit - bytesHeld, 0)
  }

  func take(_ count: Int) -> [UInt8] {
    guard count > 0 else { return [] }
    // In this form the array's type is not looked up at run time.
    let bytes = unsafe Array(UnsafeRawBufferPointer(rebasing: unreadBytes[..<count]))
    consume(count)
    return bytes
  }

  /// Lends what is held here, and takes it.
  func lendUnread(to body: (RawSpan) throws -> Void) rethrows {
    if isInTransaction { unsafe recordRead(unreadBytes) }
    // Taken before, because the body may read on, which moves what is held here, or close the socket.
    defer {
      if inputLimit > 0 { updateReadWatch() }
    }
    if let held = input {
      input = nil
      defer { withExtendedLifetime(held) {} }
      unsafe try body(held.bytes.bytes)
    } else if let readBuffer {
      let bytes = unsafe readBuffer.unreadBytes
      readBuffer.forget(self)
      unsafe try readBuffer.whileRead(bytes, body)
    }
  }

  func consume(_ count: Int) {
    guard count > 0 else { return }
    if isInTransaction { unsafe recordRead(UnsafeRawBufferPointer(rebasing: unreadBytes[..<count])) }
    if let input {
      input.consume(count)
      if input.count == 0 {
        self.input = nil
      }
    } else {
      readBuffer?.consume(count)
    }
    if inputLimit > 0 {
      updateReadWatch()
    }
  }

  func dropInput() {
    input = nil
    existingDetails?.transaction = nil
    readBuffer?.forget(self)
  }

  /// Moves what the handlers left unread out of the loop's buffer.
  func saveLentBytes() {
    if let readBuffer {
      keepBytes(lentBy: readBuffer)
    }
  }

  private func keepBytes(lentBy readBuffer: ReadBuffer) {
    guard readBuffer.isLent(to: self) else { return }
    if readBuffer.unread.count > 0 {
      let rest = unsafe readBuffer.unreadBytes
      let queue = ByteQueue(capacity: rest.count)
      unsafe queue.append(rest)
      input = queue
    }
    readBuffer.forget(self)
  }

  // MARK: - From the kernel

  /// Looks in the kernel for what has arrived: a program may read without waiting for the loop to say so. What arrives
  /// meanwhile is not waited for.
  func pull(atLeast count: Int) {
    noteUse()
    guard bytesHeld < count, currentState == .connected, !flags.contains(.inReadyRead) else { return }
    var arrived: Int?
    while bytesHeld < count && arrived != 0 {
      let before = bytesHeld
      guard pullOnce(roomFor: arrived) else { return }
      let received = bytesHeld - before
      if let rest = arrived {
        arrived = max(rest - received, 0)
      } else if received < Self.pieceSize {
        return
      } else {
        arrived = arrivedBytes
      }
    }
  }

  /// - Returns: whether there may be more.
  private func pullOnce(roomFor rest: Int?) -> Bool {
    switch receiveIntoQueue(piece: min(rest ?? Self.pieceSize, ReadBuffer.size)) {
    case .bytes:
      return true
    case .nothing:
      return false
    case .end:
      // A loop that watches for handlers comes to the end itself.
      if engine == nil && flags.contains(.wantsInput) { endOfInput() }
      return false
    case .failed(let errnum):
      connectionFailed(failure(of: CSC_CALL_READ, errnum))
      return false
    }
  }

  enum Received {
    /// - Parameter isAll: whether nothing more was there.
    case bytes(isAll: Bool)
    case nothing
    case end
    case failed(CInt)
  }

  /// How much is read at once where nothing says how much there is.
  private static let pieceSize = 16384

  /// Reads once from the kernel: into the loop's buffer, or into `input` where there are unread bytes already.
  ///
  /// - Parameters:
  ///   - least: how many bytes there is room for, whatever the limit says.
  ///   - piece: how many bytes to read at most.
  @discardableResult
  func receiveIntoQueue(roomFor least: Int = 0, piece: Int = pieceSize) -> Received {
    guard !flags.contains(.inputEnded) else { return .end }
    let room = min(max(roomForInput, least), ReadBuffer.size)
    guard room > 0 else { return .nothing }
    saveLentBytes()
    guard input == nil, let readBuffer else { return receive(into: input ?? ByteQueue(), min(room, piece)) }
    // Nearly always the caller takes all of it at once: no memory of the socket's own.
    let space = unsafe UnsafeMutableRawBufferPointer(rebasing: readBuffer.take()[..<min(room, piece)])
    let outcome = unsafe receiveBytes(into: space)
    if case .value(let count) = outcome, count > 0 { readBuffer.lend(count, to: self) }
    return noteReceived(outcome, room: space.count)
  }

  private func receive(into queue: ByteQueue, _ room: Int) -> Received {
    let space = unsafe UnsafeMutableRawBufferPointer(rebasing: queue.reserve(room)[..<room])
    let outcome = unsafe receiveBytes(into: space)
    if case .value(let count) = outcome, count > 0 {
      queue.didAppend(count)
      input = queue
    }
    return noteReceived(outcome, room: room)
  }

  private func noteReceived(_ outcome: SystemCalls.Outcome, room: Int) -> Received {
    switch outcome {
    case .value(0):
      noteInputEnded()
      return .end
    case .value(let count):
      if inputLimit > 0 {
        updateReadWatch()
      }
      return .bytes(isAll: count < room)
    case .failed(let errnum):
      return outcome.wouldBlock ? .nothing : .failed(errnum)
    }
  }

  /// The loop says that there is something to read.
  func handleReadable(timedOut: Bool) {
    guard !flags.contains(.lingering) else {
      return continueLingering(timedOut: timedOut)
    }
    if let slot = transportSlot, slot.isHandshaking {
      if slot.state == .handshaking(.answer) { return lookForEnd(whileAnswerLacks: slot) }
      if timedOut && !SystemCalls.isReadable(descriptor) { return readTimedOutDuringHandshake() }
      return handshakeIsReady(slot)
    }
    guard flags.contains(.wantsInput) else { return handleReadableForTasks(timedOut) }
    guard !flags.contains(.watchingEnd) else { return lookForReset() }
    guard let readBuffer, descriptor >= 0 else { return }
    let buffer = unsafe readBuffer.take()
    let outcome = unsafe receiveBytes(
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(roomForInput, buffer.count)])
    )
    switch outcome {
    case .value(0):
      endOfInput()
    case .value(let count):
      if let input {
        unsafe input.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      } else {
        readBuffer.lend(count, to: self)
      }
      announceInput()
      keepBytes(lentBy: readBuffer)
      updateReadWatch()
    case .failed(let errnum):
      if !outcome.wouldBlock {
        connectionFailed(failure(of: CSC_CALL_READ, errnum))
      }
    }
  }

  private func handleReadableForTasks(_ timedOut: Bool) {
    let isWaiting = withExistingWaiters { $0.reader.isWaiting } ?? false
    // A loop that was late sees the timeout alone, whatever has come meanwhile.
    if timedOut && !hasSomethingToRead {
      if isWaiting {
        wakeReader(.timedOut)
      } else {
        watchRead(for: nil)
      }
    } else if isWaiting {
      withExistingWaiters { $0.reader.wake(.ready) }??.resume()
    } else if flags.contains(.watchingEnd) {
      lookForReset()
    } else {
      readAhead()
    }
  }

  /// Not while its own handlers run: a handler that waits for more data is not called from within itself.
  func announceInput() {
    guard !flags.contains(.inReadyRead) else { return }
    flags.insert(.inReadyRead)
    if let readyReadHandler {
      readyReadHandler()
    } else {
      existingDetails?.readyRead?.notify()
    }
    flags.remove(.inReadyRead)
  }

  /// The peer has ended its side. Without a handler for a half-closed connection, the rest is sent and it ends.
  func endOfInput() {
    noteInputEnded()
    announceEndOfInput()
    // A handler may have ended the connection, and begun another.
    guard currentState == .connected, flags.contains(.inputEnded) else { return }
    guard let signal = existingDetails?.readChannelFinished, signal.hasHandlers else {
      return disconnectFromHost()
    }
    signal.notify()
    if flags.contains(.writeBroken) {
      disconnectFromHost()
    } else {
      endIfBothSidesHave()
      updateReadWatch()
    }
  }

  /// Of a connection that handlers read: where the peer has ended its side, and the program this one, nothing else would
  /// end it.
  func endIfBothSidesHave() {
    guard currentState == .connected, flags.isSuperset(of: [.wantsInput, .endAnnounced, .writeEnded]) else {
      return
    }
    disconnectFromHost()
  }

  func announceEndOfInput() {
    guard !flags.contains(.endAnnounced) else { return }
    flags.insert(.endAnnounced)
    record(.remoteHostClosed)
    existingDetails?.errorOccurred?.notify(.remoteHostClosed)
  }
}
