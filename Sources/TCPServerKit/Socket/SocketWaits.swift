/// The tasks that wait for a socket: one that reads, one that writes, and those who wait for its state.
final class SocketWaits: CancellableWait {
  var reader = Parking()
  var writer = Parking()
  var state = WaitingLine()
  /// `write` suspends when this much is held, and goes on when no more than `lowWaterMark` is.
  var highWaterMark = 65536
  var lowWaterMark = 16384

  enum Kind: UInt32 {
    case reader = 0
    case writer = 1
  }

  /// The number of a new wait. Its last bit tells which of the two it is.
  func begin(_ kind: Kind) -> UInt32 {
    let wait =
      switch kind {
      case .reader: reader.begin()
      case .writer: writer.begin()
      }
    return wait << 1 | kind.rawValue
  }

  func park(_ kind: Kind, _ continuation: UnsafeContinuation<Parking.Wakening, Never>) {
    switch kind {
    case .reader: unsafe reader.park(continuation)
    case .writer: unsafe writer.park(continuation)
    }
  }

  func end(_ kind: Kind) {
    switch kind {
    case .reader: reader.end()
    case .writer: writer.end()
    }
  }

  func cancelWait(_ wait: UInt32) {
    switch Kind(rawValue: wait & 1) {
    case .reader: reader.cancel(wait >> 1)
    case .writer: writer.cancel(wait >> 1)
    case nil: break
    }
  }
}

extension TCPSocket {
  var existingWaits: SocketWaits {
    if let waits {
      return waits
    }
    let waits = SocketWaits()
    self.waits = waits
    return waits
  }

  /// Suspends the calling task until the loop has something for it.
  ///
  /// - Throws: ``SocketError/unfinishedSocketOperation`` when the task was cancelled,
  ///   ``SocketError/socketTimeout`` when the time ran out.
  func suspend(_ kind: SocketWaits.Kind) async throws(SocketError) {
    guard let engine else { throw refuseAsync("No event base to wait on") }
    let waits = existingWaits
    moved = 0
    let wakening = await engine.suspend(on: waits, wait: waits.begin(kind)) {
      unsafe waits.park(kind, $0)
    }
    waits.end(kind)
    try check(wakening)
  }

  /// Counts what the kernel has moved at once, where nobody had to wait for it.
  ///
  /// - Returns: whether that was enough for one turn, 1 MiB or 2,048 small pieces: a task whose peer is always
  ///   ahead would otherwise never wait, and keep the loop from everybody else.
  func usesUpTurn(_ count: Int) -> Bool {
    moved += UInt16(clamping: max(min(count, 1 << 20) / 512, 1))
    guard moved >= 2048 else { return false }
    moved = 0
    return true
  }

  /// Suspends the calling task until a connection was made, or has ended.
  func waitForStateChange(_ timeout: Duration?) async throws(SocketError) {
    guard let engine else { throw refuseAsync("No event base to wait on") }
    let waiter = existingWaits.state.add()
    let timer = timeout.map { LoopTimer(engine, after: $0) { waiter.wake(.timedOut) } }
    defer { withExtendedLifetime(timer) {} }
    let wakening = await engine.suspend(on: waiter)
    waits?.state.remove(waiter)
    try check(wakening)
  }

  private func check(_ wakening: Parking.Wakening) throws(SocketError) {
    switch wakening {
    case .ready: return
    case .cancelled: throw cancelled()
    case .timedOut:
      record(.timedOut)
      throw .socketTimeout
    }
  }

  func cancelled() -> SocketError {
    record(Failure(.unfinishedSocketOperation, "The task was cancelled"))
    return .unfinishedSocketOperation
  }

  func refuseAsync(_ text: String) -> SocketError {
    record(Failure(.operation, text))
    return .operation
  }

  /// Nobody waiting means nobody interested: the watch goes until somebody is.
  func wakeReader(_ wakening: Parking.Wakening) {
    guard let waits else { return }
    if waits.reader.isWaiting {
      waits.reader.wake(wakening)
    } else {
      updateReadWatch()
    }
  }

  func wakeWriter(_ wakening: Parking.Wakening) {
    waits?.writer.wake(wakening)
  }

  func wakeWriterIfDrained() {
    if let waits, bytesToWrite <= waits.lowWaterMark {
      waits.writer.wake(.ready)
    }
  }

  func wakeEverybody() {
    guard let waits else { return }
    waits.reader.wake(.ready)
    waits.writer.wake(.ready)
    waits.state.wakeAll()
  }
}
