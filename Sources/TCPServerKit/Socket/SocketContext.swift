// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Where a socket lives: its loop, and the server that counts it among its connections, if one does. Shared by all
/// sockets of a place, so that a socket has one reference for both.
///
/// `@unchecked Sendable` because of this invariant: what changes, and what it refers to, is used on the loop's thread
/// alone.
@safe final class SocketContext: LoopResident, @unchecked Sendable {
  let engine: EventEngine?
  /// What each watch needs of the engine, which keeps it, without counting a reference to that.
  let base: OpaquePointer?
  let hasEdges: Bool
  /// Nil without a loop.
  let loop: LoopSockets?
  /// That of `loop`.
  let readBuffer: ReadBuffer?
  /// The engine, or for what has none a confinement of its own.
  let confinement: ThreadConfinement
  /// Whether connections are watched for their end that their program does nothing with: where places are limited.
  var watchesUnused = true {
    didSet { updateNotices() }
  }
  /// Of the server's connections, while it is monitored.
  var durations: ConnectionDurations? {
    didSet {
      unsafe durationsReference = durations.map { unsafe .passUnretained($0) }
      updateNotices()
    }
  }
  /// The same, to be called without counting references for each connection.
  private var durationsReference: Unmanaged<ConnectionDurations>?
  /// Of the server's connections that begin from now on and those that have had one; see ``ConnectionPolicy``.
  var connectionRules: ConnectionRules? {
    didSet {
      // For good: connections under a former policy are in the loop's list.
      hasHadRules = hasHadRules || connectionRules != nil
      updateNotices()
    }
  }
  private(set) var hasHadRules = false
  /// Whether anything is to be done where a connection begins or ends: one look for both.
  private(set) var noticesConnections = true
  /// Whether connections are to know when they began: those in the loop's list of the connections to be watched, so that
  /// no other pays for it.
  var recordsBeginnings = false
  /// The server is ending in order: no connection is to begin anything new. Nil while it is not.
  var drain: Drain?
  /// The connection that an overridden `incomingConnection(_:)` of the server is called for. Its descriptor is -1 once it
  /// is pending, and its place is taken once a socket or a permit holds it.
  var handover: (connection: csc_connection, isPlaceTaken: Bool)?
  /// The server, where it lives on the same loop, or without one.
  let server: ServerHandle?
  private let remoteServer: RemoteServerHandle?
  /// See `TCPSocket.deliveryTimeout`. Set by the server, on the loop's thread.
  var deliveryTimeout = defaultDeliveryTimeout {
    didSet { deliveryNanoseconds = deliveryTimeout.nanoseconds }
  }
  private(set) var deliveryNanoseconds = defaultDeliveryTimeout.nanoseconds

  static let defaultDeliveryTimeout: Duration = .seconds(30)

  struct Drain {
    let start = ContinuousClock.now
    /// See ``GracefulShutdown/idleTime``.
    private var idleEnd: ContinuousClock.Instant

    init(idleTime: Duration, until deadline: ContinuousClock.Instant) {
      idleEnd = start + idleTime
      limit(to: deadline)
    }

    /// The shutdown ends by then: what was idle is to end in order before.
    mutating func limit(to deadline: ContinuousClock.Instant) {
      idleEnd = min(idleEnd, deadline - (TCPSocket.timeForEnd + TCPSocket.silenceBetweenMessages))
    }

    /// Whether a connection that waits for its next message may go on waiting.
    var keepsIdle: Bool {
      .now < idleEnd
    }
  }

  /// - Parameter place: the context of the same loop; nil without a loop.
  init(in place: SocketContext?, server: ServerHandle? = nil, confinement: ThreadConfinement? = nil) {
    engine = place?.engine
    unsafe base = place?.base
    hasEdges = place?.hasEdges ?? false
    loop = place?.loop
    readBuffer = loop?.readBuffer
    self.confinement = engine ?? confinement ?? ThreadConfinement(hasLoop: false)
    self.server = server
    remoteServer = nil
  }

  init(in place: SocketContext?, of server: RemoteServerHandle) {
    engine = place?.engine
    unsafe base = place?.base
    hasEdges = place?.hasEdges ?? false
    loop = place?.loop
    readBuffer = loop?.readBuffer
    confinement = engine ?? ThreadConfinement(hasLoop: false)
    self.server = nil
    remoteServer = server
    let settings = server.settings.withLock { $0 }
    deliveryTimeout = settings.deliveryTimeout
    deliveryNanoseconds = deliveryTimeout.nanoseconds
    connectionRules = settings.connectionRules
    // What is observed is not, in an initializer.
    hasHadRules = connectionRules != nil
  }

  fileprivate init(_ engine: EventEngine) {
    self.engine = engine
    unsafe base = engine.base
    hasEdges = engine.hasEdges
    let loop = LoopSockets(engine)
    self.loop = loop
    readBuffer = loop.readBuffer
    confinement = engine
    server = nil
    remoteServer = nil
  }

  deinit {
    if let server, unsafe server.context === self {
      unsafe server.context = nil
    }
  }

  func noteBeginning(of descriptor: CInt) {
    unsafe durationsReference?._withUnsafeGuaranteedRef { $0.begin(descriptor) }
  }

  func noteEnd(of descriptor: CInt, isDelivered: Bool) {
    unsafe durationsReference?._withUnsafeGuaranteedRef { $0.end(descriptor, isDelivered: isDelivered) }
  }

  private func updateNotices() {
    noticesConnections = watchesUnused || durations != nil || hasHadRules
  }

  func deliver() async {
    await loop?.deliverAll()
  }

  func bodyEnded() {
    loop?.wakeWaiting()
  }

  func loopEnded() {
    loop?.abortAll()
  }

  /// Whether that connection has this descriptor.
  func handsOver(_ descriptor: CInt) -> Bool {
    descriptor >= 0 && handover?.connection.descriptor == descriptor
  }

  /// What reaches the server from any thread; nil where there is none with a loop.
  var remoteServerHandle: RemoteServerHandle? {
    remoteServer ?? server.flatMap { $0.engine == nil ? nil : $0.remote }
  }

  /// The peer of a connection that the server counts has not got everything.
  func noteUndelivered() {
    if let server {
      server.noteUndelivered()
    } else {
      remoteServer?.noteUndelivered()
    }
  }

  /// A connection has ended, which its server counted.
  func connectionEnded(from source: UInt32) {
    if let server {
      server.connectionEnded(from: source)
    } else {
      remoteServer?.connectionEnded(from: source)
    }
  }
}

extension EventBase {
  /// Of sockets here that no server counts.
  var socketContext: SocketContext {
    resident.withLock { resident in
      if let context = resident as? SocketContext { return context }
      let context = SocketContext(engine)
      resident = context
      return context
    }
  }
}
