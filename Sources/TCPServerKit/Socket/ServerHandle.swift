// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Synchronization

/// A server as the sockets of its loop know it. It owns the core's server, and stays until the server and the last
/// socket that counts there have gone: a socket can report its end when the server is no more.
@safe class ServerHandle {
  final let pointer: OpaquePointer?
  /// Its contexts keep it, or it is in a list of the loop's own.
  private final let engineReference: Unmanaged<EventEngine>?
  /// That of the server's own sockets, while there is one.
  final unowned(unsafe) var context: SocketContext?
  /// Connections on the server's loop whose peer has not got everything.
  private final let undelivered = Atomic<UInt64>(0)
  /// Connections that a policy has ended, on any loop.
  final let policyEnds = PolicyEnds()
  /// Called when a connection has ended: there may be room for another.
  final var onRoom: (() -> Void)?
  /// The tasks that wait in `accept()` and its like.
  final let acceptWaiters = WaiterQueue()
  /// The tasks that wait until no connection is left.
  final let endWaiters = WaiterQueue()
  private final var isAwaited = false
  private final var existingRemote: RemoteServerHandle?

  init(engine: EventEngine?) {
    unsafe engineReference = engine.map { unsafe .passUnretained($0) }
    unsafe pointer = csc_server_new(engine?.base)
  }

  deinit {
    existingRemote?.serverEnds()
    unsafe csc_server_free(pointer)
  }

  final var engine: EventEngine? {
    unsafe engineReference?.takeUnretainedValue()
  }

  /// Whether the loop runs, on this thread.
  @inline(__always)
  final var isOnLoop: Bool {
    guard let engineReference = unsafe engineReference else { return false }
    return unsafe engineReference._withUnsafeGuaranteedRef { $0.isOwner }
  }

  /// Runs what a callback of the core does; see `EventEngine.inCallback(_:)`.
  @inline(__always)
  final func inCallback<Result>(_ body: () -> Result) -> Result {
    guard let engineReference = unsafe engineReference else { return body() }
    return unsafe engineReference._withUnsafeGuaranteedRef { $0.inCallback(body) }
  }

  /// The same server for other threads.
  final var remote: RemoteServerHandle {
    if let existingRemote {
      return existingRemote
    }
    let remote = RemoteServerHandle(self)
    existingRemote = remote
    return remote
  }

  /// For the connections that become sockets on other loops from now on.
  final func updateRemoteSettings() {
    guard let existingRemote, let context = unsafe context else { return }
    existingRemote.settings.withLock { $0 = RemoteServerHandle.Settings(of: context) }
  }

  /// Tasks wait for connections from now on.
  final func noteAwaited() {
    guard !isAwaited else { return }
    isAwaited = true
    unsafe context?.loop?.addAwaited(self)
  }

  /// On the loop.
  final func noteUndelivered() {
    undelivered.add(1, ordering: .relaxed)
  }

  /// Without those of sockets on other loops; from any thread.
  final var undeliveredCount: UInt64 {
    undelivered.load(ordering: .relaxed)
  }

  final var allUndelivered: UInt64 {
    undeliveredCount + (existingRemote?.undeliveredCount ?? 0)
  }

  /// How many connections are open that count.
  final var live: UInt64 {
    unsafe csc_server_live(pointer)
  }

  /// - Parameter source: the connection's place among those of its source; 0 for none.
  final func connectionEnded(from source: UInt32 = 0) {
    if source == 0 {
      unsafe csc_server_connection_ended(pointer)
    } else {
      unsafe csc_server_connection_ended_from(pointer, source)
    }
    onRoom?()
    wakeIfAllEnded()
  }

  final func wakeIfAllEnded() {
    if !endWaiters.isEmpty && live == 0 { endWaiters.wakeAll() }
  }

  /// A descriptor was closed on the loop.
  ///
  /// - Returns: whether the server still lacks resources, as far as it knows.
  final func descriptorFreed() -> Bool {
    unsafe csc_server_descriptor_freed(pointer)
  }
}

/// A server as its connections know it that may be on any thread.
///
/// `@unchecked Sendable` because of this invariant: the server is looked at on its loop alone, where it ends as well;
/// the rest never changes.
@safe final class RemoteServerHandle: @unchecked Sendable {
  private weak var engine: EventEngine?
  /// Only compared, while there is a server, which keeps its loop alive.
  private let engineID: ObjectIdentifier?
  private unowned(unsafe) var server: ServerHandle?
  /// Connections on other loops whose peer has not got everything.
  private let undelivered = Atomic<UInt64>(0)
  /// For connections on other loops.
  let settings: Locked<Settings>

  struct Settings: Sendable {
    let deliveryTimeout: Duration
    let connectionRules: ConnectionRules?

    init(of context: SocketContext?) {
      deliveryTimeout = context?.deliveryTimeout ?? SocketContext.defaultDeliveryTimeout
      connectionRules = context?.connectionRules
    }
  }

  init(_ server: ServerHandle) {
    settings = unsafe Locked(Settings(of: server.context))
    unsafe self.server = server
    engine = server.engine
    engineID = server.engine.map { ObjectIdentifier($0) }
  }

  /// From any thread.
  func noteUndelivered() {
    undelivered.add(1, ordering: .relaxed)
  }

  var undeliveredCount: UInt64 {
    undelivered.load(ordering: .relaxed)
  }

  fileprivate func serverEnds() {
    unsafe server = nil
  }

  /// A connection has ended that the server counted; from any thread.
  func connectionEnded(from source: UInt32) {
    guard let engine else { return }
    if engine.isOwner {
      unsafe server?.connectionEnded(from: source)
    } else {
      engine.post(.closure { unsafe self.server?.connectionEnded(from: source) })
    }
  }

  /// The context of a connection of the server that becomes a socket on this loop; nil for the server's own.
  func context(on eventBase: EventBase?) -> SocketContext {
    if eventBase == nil, let own = engine?.eventBase { return context(on: own) }
    if let engine = eventBase?.engine, ObjectIdentifier(engine) == engineID, engine.isOwner,
      let server = unsafe server
    {
      return unsafe server.context ?? SocketContext(in: eventBase?.socketContext, server: server)
    }
    return SocketContext(in: eventBase?.socketContext, of: self)
  }
}
