// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import CServerCore
internal import Synchronization

/// A TCP connection: the `QTcpSocket` that ``TCPServer/nextPendingConnection()`` returns.
///
/// It can be used with the event loop, by connecting handlers to its signals, and without one, by its
/// `waitFor` calls. Reading and writing never block.
///
/// ## Half-close
///
/// The end of the peer's input is not the end of the connection: what is written after it still arrives. When
/// the peer has ended its side, ``errorOccurred`` gives ``SocketError/remoteHostClosed``; then a socket whose
/// ``readChannelFinished`` has a handler stays connected until the program ends its own side, by ``finishWriting()``, or
/// closes it, and every other one delivers what was written and disconnects by itself.
///
/// ## Lifetime
///
/// While the loop watches a socket for its handlers, or still has bytes to send for it, the loop keeps it
/// alive. A handler may capture its socket weakly; on a socket that a server accepted it may also do so
/// strongly, since such a socket releases its handlers after ``disconnected``. Otherwise releasing the last
/// reference closes the connection.
///
/// ## Thread
///
/// A socket may be passed to any task and thread, and lives on its event base. `async` members work from every task.
/// Members that only give an order, such as ``write(_:)-([UInt8])``, ``disconnectFromHost()`` and ``abort()``, may be
/// called from every thread: elsewhere than on the event base they are carried out there soon, in order. All others
/// answer from what the event base changes: elsewhere they stop the program with a text that names them.
/// <doc:Executors> lists which is which.
///
/// Without an event base a socket belongs to the first thread that uses it.
///
/// `@unchecked Sendable` because of this invariant: `confinement`, `storedState` and, of an accepted socket, `peer` may
/// be read on any thread; all else is touched by the thread that `confinement` allows alone.
@safe public final class TCPSocket: @unchecked Sendable {
  // What every accepted connection carries, in an order without gaps. What only some need is in `details`.
  /// Owned by `context`, whichever that is.
  private let confinementReference: Unmanaged<ThreadConfinement>
  var context: SocketContext
  var descriptor: CInt = -1
  var flags: Flags = []
  /// Sent, but not yet reported by `bytesWritten`; an upper bound while that has no handler.
  var unreportedWritten: UInt32 = 0
  /// What the kernel has moved for tasks since one of them last waited; see `spendsTurnBudget`.
  var turnBytes: UInt16 = 0
  // Not public themselves, so that the compiler sees every access, and leaves out the checks at run time that
  // no two overlap.
  let storedState: Atomic<UInt8>
  /// Whether `peer` came with it, for good.
  let isAccepted: Bool
  var peer = csc_address()
  var input: ByteQueue?
  var output: ByteQueue?
  var readWatch: OpaquePointer?
  /// The handlers that nearly every socket has that has any; see LoneSignal.swift.
  var readyReadHandler: (() -> Void)?
  var disconnectedHandler: (() -> Void)?
  private(set) var existingDetails: Details?
  /// Owned by the socket, from the first task that waits until it goes; see `waiters`.
  var waitersReference: Unmanaged<SocketWaiters>?
  /// The slot of an encrypted connection, which it owns, with the last bit set; of others `servingTask`. One word for
  /// both, as each connection has it.
  private var slotOrServingTask: UInt = 0

  struct Flags: OptionSet {
    var rawValue: UInt32
    /// Came out of a server's accept.
    static let accepted = Flags(rawValue: 1 << 0)
    /// The program took a signal that only reading can raise.
    static let wantsInput = Flags(rawValue: 1 << 1)
    static let watchingRead = Flags(rawValue: 1 << 2)
    static let watchingWrite = Flags(rawValue: 1 << 3)
    /// The loop holds a reference.
    static let keptAlive = Flags(rawValue: 1 << 4)
    static let inputEnded = Flags(rawValue: 1 << 5)
    static let endAnnounced = Flags(rawValue: 1 << 6)
    /// `close()` was called: nothing can be read any more.
    static let readClosed = Flags(rawValue: 1 << 7)
    static let writeEnded = Flags(rawValue: 1 << 8)
    /// Sending failed; the reading side finds out how the connection ended.
    static let writeBroken = Flags(rawValue: 1 << 9)
    static let inReadyRead = Flags(rawValue: 1 << 10)
    static let inBytesWritten = Flags(rawValue: 1 << 11)
    static let announcementDue = Flags(rawValue: 1 << 12)
    /// All is sent; what the peer still sends is thrown away until it ends, so that no reset destroys it.
    static let lingering = Flags(rawValue: 1 << 13)
    /// The last read took all there was: the next waits before it tries.
    static let drained = Flags(rawValue: 1 << 14)
    /// The connection did not end in order.
    static let broken = Flags(rawValue: 1 << 15)
    /// An error is being reported, and the connection ends after it.
    static let failing = Flags(rawValue: 1 << 16)
    /// The task that reads, respectively writes, is the one that `serve` started.
    static let servedReader = Flags(rawValue: 1 << 18)
    static let servedWriter = Flags(rawValue: 1 << 19)
    /// The read watch has a timeout.
    static let readTimed = Flags(rawValue: 1 << 20)
    /// There was a connection, and it has ended.
    static let hasEnded = Flags(rawValue: 1 << 17)
    /// A server counts it among its connections; see ConnectionPermit.swift.
    static let counted = Flags(rawValue: 1 << 21)
    /// The loop has watched this connection for input before.
    static let watched = Flags(rawValue: 1 << 22)
    /// The loop watches for the peer's end alone, edge-triggered.
    static let watchingEnd = Flags(rawValue: 1 << 23)
    /// `readWatch` is the event for that.
    static let hasEdgeEvent = Flags(rawValue: 1 << 24)
    /// The peer has ended its side; input may be left before its end.
    static let peerEnded = Flags(rawValue: 1 << 25)
    /// Some of what was written has not reached the peer, and will not.
    static let undelivered = Flags(rawValue: 1 << 26)
    /// So much was written that the kernel may hold it for long.
    static let wroteMuch = Flags(rawValue: 1 << 27)
    /// The server ends: see `hurry()`.
    static let hurried = Flags(rawValue: 1 << 28)
    /// The loop will look whether it is watched.
    static let unwatched = Flags(rawValue: 1 << 30)
    /// A task has read from it: what comes while none does is read ahead.
    static let readsAhead = Flags(rawValue: 1 << 31)
    /// `disconnectFromHost()` was called while the connection was being made, with bytes to deliver.
    static let closesOnceConnected = Flags(rawValue: 1 << 29)
  }

  /// What a socket needs once it is used for more than reading and writing.
  @safe final class Details {
    var failure = Failure.none
    var writeWatch: OpaquePointer?
    var readBufferSize = 0
    var writeBufferLimit = WriteBufferLimit()
    /// More was written than may be held, and the connection is about to end for it.
    var hasOverflowed = false
    var servedEnd = ServedEnd()
    var attempt: ConnectionAttempt?
    var deliveryTimeout: Duration?
    /// What was read since `startTransaction()`; nil without one.
    var transaction: [UInt8]?
    var relay: RelaySide?
    var origin: Origin?
    var readyRead: InputSignal<Void>?
    var stateChanged: InputSignal<SocketState>?
    /// How long the peer of a closing connection has been silent; nil while the connection is not being closed.
    var closingSilence: PeerSilence?
    var endReceiver: ServedEndReceiver?
    var connected: Signal<Void>?
    var bytesWritten: Signal<Int>?
    var readChannelFinished: InputSignal<Void>?
    var disconnected: InputSignal<Void>?
    var errorOccurred: InputSignal<SocketError>?
  }

  /// How the connection comes to be, and how its bytes go, where there is more to say of that.
  @safe final class Origin {
    // Of the next attempt to connect.
    var proxy = NetworkProxy.default
    /// What it is bound to; the descriptor is the socket's own until then.
    var binding: SocketAddress?

    // Of one that was accepted.
    var proxied: ProxiedConnection?
    /// Its place among those of its source, while its server counts that; otherwise 0.
    var source: UInt32 = 0
    /// Nil where that is not recorded.
    var beginning: ContinuousClock.Instant?

    /// It has reached the maximum age of its server's policy.
    var isPastMaximumAge = false
    var maximumAgeReached: Signal<Void>?
    /// What its proxy sent before it was delivered.
    var bytesOfHeader: UInt64 {
      UInt64(proxied?.headerSize ?? 0)
    }
  }

  /// Makes an unconnected socket.
  ///
  /// - Parameter eventBase: the loop it lives on; nil for use with the `waitFor` calls alone.
  public init(eventBase: EventBase? = .current) {
    let context = eventBase?.socketContext ?? SocketContext(in: nil)
    self.context = context
    unsafe confinementReference = .passUnretained(context.confinement)
    storedState = Atomic(SocketState.unconnected.stored)
    isAccepted = false
  }

  /// The socket of an accepted connection: one allocation, no system call.
  ///
  /// - Parameters:
  ///   - proxied: what a proxy said of it, where `connection` does not say so.
  ///   - isCounted: false where a permit counts it, or nothing does.
  @inline(__always) init(
    accepted connection: csc_connection,
    context: SocketContext,
    proxied: ProxiedConnection? = nil,
    isCounted: Bool = true
  ) {
    // What is wanted of `context` first, so that its reference is counted once.
    unsafe confinementReference = .passUnretained(context.confinement)
    let isNoticed = context.noticesConnections
    self.context = context
    descriptor = connection.descriptor
    // Nothing has come yet, more often than not: a task's first read waits before it tries.
    flags = context.engine == nil ? [.accepted, .counted] : [.accepted, .counted, .drained]
    storedState = Atomic(SocketState.connected.stored)
    isAccepted = true
    peer = connection.peer
    // One look for both: most have neither.
    if unsafe UInt(bitPattern: connection.proxied) | UInt(connection.source) != 0 {
      keepOrigin(of: connection)
    }
    if let proxied { keep(proxied) }
    if !isCounted { flags.remove(.counted) }
    if isNoticed { noticeBeginning() }
  }

  /// What the server counts it by, and what a proxy said of it.
  @inline(never) private func keepOrigin(of connection: csc_connection) {
    if connection.source != 0 { origin.source = connection.source }
    if let proxied = unsafe connection.proxied { keep(ProxiedConnection(taking: proxied)) }
  }

  deinit {
    defer { unsafe waitersReference?.release() }
    defer { if transportSlot != nil { transportSlot = nil } }
    forgetSignals()
    if isOwner {
      releaseResources()
    } else if confinement.exclusively({ releaseResources() }) == nil {
      leaveToLoop()
    }
  }

  var confinement: ThreadConfinement {
    unsafe confinementReference.takeUnretainedValue()
  }

  /// Whether the caller is on the thread that runs the loop. Costs no counting of references.
  @inline(__always) var isOwner: Bool {
    unsafe confinementReference._withUnsafeGuaranteedRef { $0.isOwner }
  }

  func releaseResources() {
    freeWatches()
    readBuffer?.forget(self)
    if flags.contains(.unwatched) { context.loop?.forgetUnwatched(self) }
    if descriptor >= 0 {
      // Without a loop nothing sends what is held: the connection must not look complete.
      if output != nil {
        noteUndelivered()
        SystemCalls.resetOnClose(descriptor)
      }
      endTransportInOrder()
      closeDescriptor()
    }
  }

  var engine: EventEngine? {
    context.engine
  }

  @inline(__always) var readBuffer: ReadBuffer? {
    context.readBuffer
  }

  // MARK: - State

  /// How far the connection has come.
  ///
  /// A socket whose peer has ended its side, or that was found broken, is not ``SocketState/connected``: without handlers
  /// that end the connection it is ``SocketState/closing`` until the program does. It can still be written to where only
  /// the peer's side has ended. With a handler of ``readChannelFinished`` it stays connected.
  ///
  /// May be read on any thread. Elsewhere than on the event base it may have changed by the time it is looked at, and a
  /// connection that has seen an end counts as connected until it is closed.
  public var state: SocketState {
    guard mayTouch else { return currentState }
    noteUse()
    return isPastEnd ? .closing : currentState
  }

  private var isPastEnd: Bool {
    currentState == .connected && !flags.isDisjoint(with: [.inputEnded, .writeBroken])
      && !(flags.contains(.wantsInput) && engine != nil)
      && !(existingDetails?.readChannelFinished?.hasHandlers ?? false)
  }

  @inline(__always) var currentState: SocketState {
    get { SocketState(stored: storedState.load(ordering: .relaxed)) }
    set { storedState.store(newValue.stored, ordering: .relaxed) }
  }

  /// The peer's address; ``HostAddress/null`` before there is a connection.
  ///
  /// A peer that came over IPv4 is reported as IPv4, through a dual-stack server too. The address stays
  /// readable after the connection has ended. That of a connection that a server accepted is readable on any thread.
  public var peerAddress: HostAddress {
    if !isAccepted { requireLoopThread("TCPSocket.peerAddress") }
    return HostAddress(peer)
  }

  /// The peer's port; 0 before there is a connection. That of a connection that a server accepted is readable on any
  /// thread.
  public var peerPort: UInt16 {
    if !isAccepted { requireLoopThread("TCPSocket.peerPort") }
    return peer.port
  }

  /// What encrypts the connection, or has.
  @inline(__always) var transportSlot: TransportSlot? {
    get {
      guard slotOrServingTask & 1 != 0, let slot = unsafe slotAddress else { return nil }
      return unsafe Unmanaged<TransportSlot>.fromOpaque(slot).takeUnretainedValue()
    }
    set {
      let (old, task) = (transportSlot, servingTask)
      newValue?.servingTask = task
      slotOrServingTask =
        newValue.map { unsafe UInt(bitPattern: Unmanaged.passRetained($0).toOpaque()) | 1 } ?? task
      if let old { unsafe Unmanaged.passUnretained(old).release() }
    }
  }

  private var slotAddress: UnsafeRawPointer? {
    unsafe UnsafeRawPointer(bitPattern: slotOrServingTask & ~1)
  }

  /// Which task `serve` started for this connection; 0 for none. See TCPSocket+Serving.swift.
  var servingTask: UInt {
    get { transportSlot?.servingTask ?? slotOrServingTask }
    set { if let slot = transportSlot { slot.servingTask = newValue } else { slotOrServingTask = newValue } }
  }

  var details: Details {
    if let existingDetails {
      return existingDetails
    }
    let details = Details()
    existingDetails = details
    return details
  }

  var origin: Origin {
    if let origin = existingDetails?.origin {
      return origin
    }
    let origin = Origin()
    details.origin = origin
    return origin
  }

  // MARK: - Errors

  /// The last error; ``SocketError/unknown`` at first. A later success does not clear it.
  public var error: SocketError {
    requireLoopThread("TCPSocket.error")
    return lastError
  }

  /// The last error for a person to read; "Unknown error" at first.
  public var errorString: String {
    requireLoopThread("TCPSocket.errorString")
    return (existingDetails?.failure ?? .none).text
  }

  /// For code that is on the loop already.
  var lastError: SocketError {
    existingDetails?.failure.error ?? .unknown
  }

  func record(_ failure: Failure) {
    details.failure = failure
  }
}
