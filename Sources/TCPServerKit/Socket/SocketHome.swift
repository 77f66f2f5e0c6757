internal import CServerCore
internal import Synchronization

/// Where a socket lives: its loop, and the server that counts it among its connections, if one does. Shared by all
/// sockets of a place, so that a socket has one reference for both.
///
/// `@unchecked Sendable` because of this invariant: what changes, and what it refers to, is used on the loop's thread
/// alone.
final class SocketHome: @unchecked Sendable {
  let engine: EventEngine?
  /// The engine, or for what has none a confinement of its own.
  let confinement: ThreadConfinement
  /// Whether connections are watched for their end that their program does nothing with: where places are limited.
  var watchesUnused = true
  /// The server is ending in order: no connection is to begin anything new.
  var isDraining = false
  /// The server, where it lives on the same loop, or without one.
  let server: ServerCore?
  private let elsewhere: ServerHandle?
  /// See `TCPSocket.deliveryTimeout`. Set by the server, on the loop's thread.
  var deliveryTimeout = defaultDeliveryTimeout

  static let defaultDeliveryTimeout: Duration = .seconds(30)

  init(engine: EventEngine?, server: ServerCore? = nil, confinement: ThreadConfinement? = nil) {
    self.engine = engine
    self.confinement = engine ?? confinement ?? ThreadConfinement(hasLoop: false)
    self.server = server
    elsewhere = nil
  }

  init(engine: EventEngine?, of server: ServerHandle) {
    self.engine = engine
    confinement = engine ?? ThreadConfinement(hasLoop: false)
    self.server = nil
    elsewhere = server
    deliveryTimeout = server.deliveryTimeout.withLock { $0 }
  }

  deinit {
    if let server, unsafe server.home === self {
      unsafe server.home = nil
    }
  }

  /// What reaches the server from any thread; nil where there is none with a loop.
  var serverHandle: ServerHandle? {
    elsewhere ?? server.flatMap { $0.engine == nil ? nil : $0.handle }
  }

  /// The peer of a connection that the server counts has not got everything.
  func noteUndelivered() {
    if let server {
      server.undelivered += 1
    } else {
      elsewhere?.noteUndelivered()
    }
  }

  /// A connection has ended, which its server counted.
  func connectionEnded() {
    if let server {
      server.connectionEnded()
    } else {
      elsewhere?.connectionEnded()
    }
  }
}

/// The core of a server, and what its callbacks need. It stays, on the loop, until the server and the last socket that
/// counts there have gone: a callback that comes while the server is released on another thread finds all it touches.
@safe final class ServerCore {
  let pointer: OpaquePointer?
  /// Its homes keep it, or it is in a list of the engine's own.
  private let engineReference: Unmanaged<EventEngine>?
  let newConnection: Signal<Void>
  let acceptError: Signal<SocketError>
  let connectionRejected: Signal<RejectedConnection>
  var admission: ((HostAddress, UInt16) -> Admission)?
  /// The tasks that wait in `accept()`.
  let acceptWaiters = WaitingLine()
  /// Why the listening socket broke; forgotten when the server listens again.
  var breakdown: SocketError?
  /// See `TCPServer.pendingConnectionAvailable`.
  var pendingAvailable: Signal<Void>?
  /// While it begins to listen.
  unowned(unsafe) var listener: TCPServer?
  /// The server, where its class overrides what a callback calls.
  weak var overrider: TCPServer? {
    didSet { isOverridden = true }
  }
  private(set) var isOverridden = false
  /// That of the server's own sockets, while there is one.
  unowned(unsafe) var home: SocketHome?
  /// What waits for ends of connections; nil as long as nothing does.
  private(set) var endWatch: EndWatch?
  /// Connections on the server's loop whose peer has not got everything.
  var undelivered: UInt64 = 0
  private var existingHandle: ServerHandle?

  init(engine: EventEngine?, confinement: ThreadConfinement) {
    unsafe engineReference = engine.map { unsafe .passUnretained($0) }
    unsafe pointer = csc_server_new(engine?.base)
    newConnection = Signal(on: confinement)
    acceptError = Signal(on: confinement)
    connectionRejected = Signal(on: confinement)
    listenToCore()
  }

  deinit {
    existingHandle?.coreEnds()
    unsafe csc_server_free(pointer)
  }

  var engine: EventEngine? {
    unsafe engineReference?.takeUnretainedValue()
  }

  /// Whether the loop runs, on this thread.
  @inline(__always)
  var isOnLoop: Bool {
    guard let engineReference = unsafe engineReference else { return false }
    return unsafe engineReference._withUnsafeGuaranteedRef { $0.isOwner }
  }

  /// Runs what a callback of the core does; see `EventEngine.inCallback(_:)`.
  @inline(__always)
  func inCallback<Result>(_ body: () -> Result) -> Result {
    guard let engineReference = unsafe engineReference else { return body() }
    return unsafe engineReference._withUnsafeGuaranteedRef { $0.inCallback(body) }
  }

  var handle: ServerHandle {
    if let existingHandle {
      return existingHandle
    }
    let handle = ServerHandle(self)
    existingHandle = handle
    return handle
  }

  func setDeliveryTimeoutElsewhere(_ timeout: Duration) {
    existingHandle?.deliveryTimeout.withLock { $0 = timeout }
  }

  var undeliveredElsewhere: UInt64 {
    existingHandle?.undeliveredCount ?? 0
  }

  func connectionEnded() {
    unsafe csc_server_connection_ended(pointer)
    endWatch?.connectionEnded()
  }

  func watchEnds() -> EndWatch {
    if let endWatch {
      return endWatch
    }
    let watch = unsafe EndWatch(core: pointer)
    endWatch = watch
    return watch
  }

  /// A descriptor was closed on the loop.
  ///
  /// - Returns: whether the server still lacks resources, as far as it knows.
  func descriptorFreed() -> Bool {
    unsafe csc_server_descriptor_freed(pointer)
  }
}

/// A server as its connections know it that may be on any thread.
///
/// `@unchecked Sendable` because of this invariant: the core is looked at on its loop alone, where it ends as well; the
/// rest never changes.
@safe final class ServerHandle: @unchecked Sendable {
  private weak var engine: EventEngine?
  /// Only compared, while there is a server, which keeps its loop alive.
  private let engineID: ObjectIdentifier?
  private unowned(unsafe) var core: ServerCore?
  /// Connections on other loops whose peer has not got everything.
  private let undelivered = Atomic<UInt64>(0)
  /// For connections on other loops.
  let deliveryTimeout: Locked<Duration>

  init(_ core: ServerCore) {
    deliveryTimeout = unsafe Locked(core.home?.deliveryTimeout ?? SocketHome.defaultDeliveryTimeout)
    unsafe self.core = core
    engine = core.engine
    engineID = core.engine.map { ObjectIdentifier($0) }
  }

  /// From any thread.
  func noteUndelivered() {
    undelivered.add(1, ordering: .relaxed)
  }

  var undeliveredCount: UInt64 {
    undelivered.load(ordering: .relaxed)
  }

  fileprivate func coreEnds() {
    unsafe core = nil
  }

  /// A connection has ended that the server counted; from any thread.
  func connectionEnded() {
    guard let engine else { return }
    if engine.isOwner {
      unsafe core?.connectionEnded()
    } else {
      engine.post(.closure { unsafe self.core?.connectionEnded() })
    }
  }

  /// Where a connection of the server lives that becomes a socket on the loop of the calling thread.
  func home(on engine: EventEngine?) -> SocketHome {
    if let engine, ObjectIdentifier(engine) == engineID, engine.isOwner, let core = unsafe core {
      return unsafe core.home ?? SocketHome(engine: engine, server: core)
    }
    return SocketHome(engine: engine, of: self)
  }
}

/// Being counted by a server, from the accept until the descriptor is closed or given away.
extension TCPSocket {
  /// The server of `home` counts this socket from now on.
  func beCounted(by home: SocketHome) {
    // The socket's own confinement stays the one that its home keeps.
    self.home =
      home.confinement === confinement
      ? home : SocketHome(engine: engine, server: home.server, confinement: confinement)
    flags.insert(.counted)
  }

  /// No server counts it any more.
  func stopBeingCounted() {
    guard flags.contains(.counted) else { return }
    flags.remove(.counted)
    home.connectionEnded()
  }

  func closeDescriptor() {
    SystemCalls.closeDescriptor(descriptor)
    descriptor = -1
    stopBeingCounted()
    if let engine, engine.hasStarvingServers {
      engine.descriptorFreed()
    }
  }
}
