// SPDX-License-Identifier: Apache-2.0

/// The tasks that wait for a socket: one that reads, one that writes, and those who wait for its state.
///
/// `@unchecked Sendable` because of this invariant: other threads only retain and release it, in a `Job`.
final class SocketWaiters: CancellableWait, @unchecked Sendable {
  var reader = WaiterSlot()
  private var marks: Marks = []
  var messages = Messages.unknown

  /// In one byte: another would make each waiting connection 8 larger.
  private struct Marks: OptionSet {
    var rawValue: UInt8

    static let betweenMessages = Marks(rawValue: 1)
    static let aborted = Marks(rawValue: 2)
  }

  /// The task that reads waits for the first byte of a message, which a shutdown ends.
  var isBetweenMessages: Bool {
    get { marks.contains(.betweenMessages) }
    set { if newValue { marks.insert(.betweenMessages) } else { marks.remove(.betweenMessages) } }
  }

  /// The program has called `abort()`, which is no end of the input. Here, because the flags of a socket are all taken.
  var isAborted: Bool {
    get { marks.contains(.aborted) }
    set { if newValue { marks.insert(.aborted) } else { marks.remove(.aborted) } }
  }

  /// What the connection's handler has said of its messages.
  enum Messages: UInt8 {
    /// Nothing: where they begin is a guess.
    case unknown
    /// It waits for the first one.
    case awaited
    /// There was one.
    case had
  }

  /// The connection's handler says where its messages begin: the library does not guess.
  var knowsMessages: Bool {
    messages != .unknown
  }

  private(set) var existingSettings: Settings?
  private var readDeadline = Deadline.none

  /// What few connections need.
  final class Settings {
    var writer = WaiterSlot()
    /// Those who wait for the socket's state.
    let state = WaiterQueue()
    /// Those who wait for the peer's end.
    let end = WaiterQueue()
    /// Those whose write comes after the one that is going on.
    let writers = WaiterQueue()
    /// The first of them, on its way out of the line.
    var nextWriter: WaiterQueue.Waiter?
    /// How long the peer may take nothing of a write that waits; nil as long as it likes.
    var writeSilence: PeerSilence?
    /// `write` suspends when this much is held, and goes on when no more than `lowWaterMark` is.
    var highWaterMark = 65536
    var lowWaterMark = 16384
    /// A task's write waits for the peer, or has; what is written meanwhile without waiting comes after it.
    var isWriting = false
    /// How much was held when the connection broke in the middle of that, and will not be sent.
    var bytesDropped = 0
    /// How much of the last write that did not end went to the kernel.
    var bytesOfFailedWrite = 0
    /// How many bytes of such writes were given up, and not written since: a later write of as many makes up for them.
    var lostBytes = 0
  }

  var settings: Settings {
    if let existingSettings {
      return existingSettings
    }
    let settings = Settings()
    existingSettings = settings
    return settings
  }

  /// A timeout that begins with the first wait of a call and spans all of them. In nanoseconds, as one number, because
  /// each waiting connection has one.
  private enum Deadline {
    static let none = Int64.max

    /// Not begun: below zero.
    static func begins(_ timeout: Duration) -> Int64 {
      ~nanoseconds(timeout.limited)
    }

    /// The end counts from `start`: an instant itself is opaque to the compiler, and would cost a check at every read.
    static var now: Int64 {
      nanoseconds(start.duration(to: .now))
    }

    private static let start = ContinuousClock.now

    private static func nanoseconds(_ duration: Duration) -> Int64 {
      let (seconds, attoseconds) = duration.components
      return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
  }

  /// A read begins, which may take so long; nil as long as it likes.
  func limitRead(to timeout: Duration?) {
    readDeadline = timeout.map(Deadline.begins) ?? Deadline.none
  }

  /// How long the read that is going on may wait now; nil as long as it likes.
  func beginReadDeadline() -> Duration? {
    guard readDeadline != Deadline.none else { return nil }
    return restOfDeadline()
  }

  @inline(never) private func restOfDeadline() -> Duration {
    let now = Deadline.now
    if readDeadline < 0 { readDeadline = now + ~readDeadline }
    return .nanoseconds(max(readDeadline - now, 0))
  }

  enum Kind: UInt32 {
    case reader = 0
    case writer = 1
  }

  @inline(never) func begin(_ kind: Kind) {
    switch kind {
    case .reader: _ = reader.begin()
    case .writer: _ = settings.writer.begin()
    }
  }

  /// The number of the present wait. Its last bit says which of the two it is.
  @inline(never) private func number(of kind: Kind) -> UInt32 {
    (kind == .reader ? reader.wait : settings.writer.wait) << 1 | kind.rawValue
  }

  @inline(never) func park(_ kind: Kind, _ continuation: UnsafeContinuation<WaiterSlot.WakeReason, Never>) {
    switch kind {
    case .reader: unsafe reader.park(continuation)?.resume()
    case .writer: unsafe settings.writer.park(continuation)?.resume()
    }
  }

  @inline(never) func end(_ kind: Kind) -> WaiterSlot.WakeReason {
    switch kind {
    case .reader: reader.end()
    case .writer: settings.writer.end()
    }
  }

  /// Suspends the calling task: ``EventEngine/suspend(on:wait:isolation:park:)`` without its closures, since what
  /// is on a task's stack here is what an idle connection costs.
  ///
  /// The task may go on elsewhere than on the loop; ``end(_:)`` is the loop's to call.
  @inline(never) func suspend(
    _ kind: Kind,
    _ engine: EventEngine,
    isolation: isolated (any Actor)? = #isolation
  ) async {
    let wait = number(of: kind)
    await withTaskCancellationHandler {
      _ = isolation
      _ = unsafe await withUnsafeContinuation(isolation: isolation) { unsafe park(kind, $0) }
    } onCancel: {
      engine.post(.cancel(self, wait: wait))
    }
  }

  /// - Parameter reason: of those who read or write; the others look whether they go on waiting.
  func wakeAll(_ reason: WaiterSlot.WakeReason) {
    reader.wake(reason)?.resume()
    wakeWriter(reason)
    existingSettings?.state.wakeAll()
    existingSettings?.end.wakeAll()
  }

  func wakeWriter(_ reason: WaiterSlot.WakeReason) {
    existingSettings?.writer.wake(reason)?.resume()
  }

  func cancelWait(_ wait: UInt32) {
    switch Kind(rawValue: wait & 1) {
    case .reader: reader.cancel(wait >> 1)?.resume()
    case .writer: existingSettings?.writer.cancel(wait >> 1)?.resume()
    case nil: break
    }
  }
}

extension TCPSocket {
  /// The tasks that wait for this socket; nil until one does.
  @inline(__always) var existingWaiters: SocketWaiters? {
    unsafe waitersReference?.takeUnretainedValue()
  }

  /// Calls `body` with them, if there are any, without counting a reference: each read and wait looks there some times.
  @inline(__always) func withExistingWaiters<Result>(_ body: (SocketWaiters) -> Result) -> Result? {
    unsafe waitersReference?._withUnsafeGuaranteedRef(body)
  }

  var waiters: SocketWaiters {
    if let existingWaiters {
      return existingWaiters
    }
    let waiters = SocketWaiters()
    unsafe waitersReference = .passRetained(waiters)
    return waiters
  }

  /// The calling task is about to suspend. Before the loop watches for what it waits for, because it may come before
  /// the task has got there: see ``WaiterSlot``.
  func beginWait(_ kind: SocketWaiters.Kind) {
    turnBytes = 0
    if withExistingWaiters({ $0.begin(kind) }) == nil { waiters.begin(kind) }
  }

  /// Suspends the calling task, which has begun its wait, until the loop has something for it.
  ///
  /// Where the task goes on is its own affair: an actor that happened to be on this thread goes on in the pool. So
  /// the waiting call looks at ``isOnLoop`` afterwards, and ends the wait there by ``endWait(_:)``.
  @inline(__always) func suspend(_ kind: SocketWaiters.Kind) async {
    if isServed(kind) {
      // `serve` wakes it where it is cancelled.
      _ = unsafe await suspendWithoutHandler { unsafe park(kind, $0) }
    } else if let existingWaiters, let engine {
      await existingWaiters.suspend(kind, engine)
    }
  }

  @inline(never) private func park(
    _ kind: SocketWaiters.Kind,
    _ continuation: UnsafeContinuation<WaiterSlot.WakeReason, Never>
  ) {
    withExistingWaiters { unsafe $0.park(kind, continuation) }
  }

  /// The calling task goes on, on the loop.
  ///
  /// - Throws: `CancellationError` when the task was cancelled, ``SocketError/socketTimeout`` when the time ran out.
  @inline(never) func endWait(_ kind: SocketWaiters.Kind) throws {
    if let reason = withExistingWaiters({ $0.end(kind) }) { try check(reason) }
  }

  /// What a task may do in one turn of the loop before the other sockets have theirs: 1 MiB, or 256 calls.
  ///
  /// A task whose peer is always ahead would otherwise never wait, and keep the loop from everybody else.
  private static let turn = 2048
  private static let bytesOfUnit = (1 << 20) / turn
  static let call = turn / 256

  /// Counts what the kernel has moved at once, where no task had to wait for it.
  ///
  /// - Returns: whether that was enough for one turn.
  func spendsTurnBudget(_ count: Int) -> Bool {
    charge(max(min(count, 1 << 20) / Self.bytesOfUnit, Self.call))
  }

  /// Counts a call of a task, whatever it moves.
  ///
  /// - Returns: whether that was enough for one turn.
  @inline(__always) func usesUpTurnByCall() -> Bool {
    charge(Self.call)
  }

  @inline(__always) private func charge(_ units: Int) -> Bool {
    turnBytes &+= UInt16(truncatingIfNeeded: units)
    guard turnBytes >= Self.turn else { return false }
    turnBytes = 0
    return true
  }

  /// Has the calling task, which is about to suspend, go on after the loop has looked at the other sockets.
  @inline(never) func beginRest(_ kind: SocketWaiters.Kind) {
    beginWait(kind)
    engine?.afterTurn { [self] in
      switch kind {
      case .reader: existingWaiters?.reader.wake(.ready)?.resume()
      case .writer: existingWaiters?.wakeWriter(.ready)
      }
    }
  }

  /// Suspends the calling task until a connection was made, or has ended. To be called on the loop, in a task that
  /// stays there.
  func waitForStateChange(_ timeout: Duration?) async throws {
    let engine = try loopToWaitOn()
    try check(await stateChange(within: timeout, engine))
  }

  /// The same, which says how the wait has ended: also when all that was written is on its way to the peer.
  func stateChange(within timeout: Duration?, _ engine: EventEngine) async -> WaiterSlot.WakeReason {
    let line = waiters.settings.state
    let waiter = line.add()
    let timer = timeout.map { LoopTimer(engine, after: $0) { waiter.wake(.timedOut) } }
    defer { withExtendedLifetime(timer) {} }
    let reason = await engine.suspend(on: waiter)
    line.remove(waiter)
    return reason
  }

  @inline(never) private func check(_ reason: WaiterSlot.WakeReason) throws {
    switch reason {
    case .ready: return
    case .recheck:
      if Task.isCancelled { throw cancelled() }
    case .cancelled: throw cancelled()
    case .timedOut:
      record(.timedOut)
      throw SocketError.socketTimeout
    case .idle:
      // The loop has had other work since it looked.
      if !hasSomethingToRead { flags.insert(.readClosed) }
    }
  }

  func cancelled() -> CancellationError {
    record(Failure(.unfinishedSocketOperation, "The task was cancelled"))
    return CancellationError()
  }

  func refuseAsync(_ text: String) -> SocketError {
    record(Failure(.operation, text))
    return .operation
  }

  /// - Throws: ``SocketError/operation`` where no loop would wake a task that waits.
  @discardableResult func loopToWaitOn() throws -> EventEngine {
    guard let engine else { throw refuseWithoutLoop() }
    guard !engine.hasEndedWithBody else { throw refuseAsync("The loop of the event base has ended") }
    return engine
  }

  func refuseWithoutLoop() -> SocketError {
    refuseAsync(
      "No event base to wait on: make the socket within EventBase.withThread(_:) or EventBase.run(_:)"
    )
  }

  func wakeReader(_ reason: WaiterSlot.WakeReason) {
    guard let existingWaiters else { return }
    if existingWaiters.reader.isWaiting {
      existingWaiters.reader.wake(reason)?.resume()
    } else {
      updateReadWatch()
    }
  }

  func wakeWriter(_ reason: WaiterSlot.WakeReason) {
    existingWaiters?.wakeWriter(reason)
  }

  func wakeWriterIfDrained() {
    if let existingWaiters, sendable <= writeMarks.low {
      existingWaiters.wakeWriter(.ready)
    }
  }

  func wakeEverybody() {
    existingWaiters?.wakeAll(.ready)
  }
}
