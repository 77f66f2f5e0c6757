// SPDX-License-Identifier: Apache-2.0

/// What the sockets and servers of one loop share, beside the loop.
///
/// `@unchecked Sendable` because of this invariant: it is used on the loop's thread alone.
@safe final class LoopSockets: @unchecked Sendable {
  private unowned let engine: EventEngine
  /// One buffer for all reads on this loop; the reader owns it until the handlers have run.
  let readBuffer = ReadBuffer()
  /// Sockets that have just been connected; each is there as long as its flag says so.
  private var unwatched: [Unmanaged<TCPSocket>] = unsafe []
  /// The memory of those that were there before.
  private var spare: [Unmanaged<TCPSocket>] = unsafe []
  private lazy var watchUnwatched: () -> Void = { [unowned self] in watchAll() }
  /// The loop keeps a socket alive that is being connected.
  private var connecting: [ObjectIdentifier: TCPSocket] = [:]
  /// Servers that lacked descriptors or memory when they last tried; looked at whenever a socket closes its own.
  private var overloadedServers: [ServerHandle] = []
  private(set) var hasOverloadedServers = false
  /// Servers whose connections tasks wait for.
  private var awaitedServers: [ServerHandle] = []
  /// Of encrypted connections.
  private(set) lazy var idleTransports = IdleTransports()
  private var readyRead: LoneSignal?
  private var disconnected: LoneSignal?
  /// A server here records when its connections begin; see `SocketContext.recordsBeginnings`.
  var recordsBeginnings = false
  /// Of the connections here that have a policy.
  private(set) lazy var deadlines = ConnectionDeadlines(engine)
  /// Of the relays here.
  var pipes: RelayPipes {
    if let existingPipes { return existingPipes }
    let pipes = RelayPipes(self)
    existingPipes = pipes
    return pipes
  }
  private var existingPipes: RelayPipes?
  /// The context of the server whose overridden `incomingConnection(_:)` runs; see `SocketContext.handover`.
  var handingOver: SocketContext?

  init(_ engine: EventEngine) {
    self.engine = engine
  }

  /// Looks after the events of this turn whether `socket` is watched, and watches it if not. Most are by then, or have
  /// ended.
  func watchLater(_ socket: TCPSocket) {
    if unsafe unwatched.isEmpty {
      engine.enqueue(watchUnwatched)
    }
    unsafe unwatched.append(.passUnretained(socket))
  }

  private func watchAll() {
    var sockets = unsafe exchange(&unwatched, with: exchange(&spare, with: []))
    if recordsBeginnings {
      let now = ContinuousClock.now
      unsafe sockets.forEach { unsafe TCPSocket.alive($0.toOpaque())?.recordBeginning(now) }
    }
    unsafe sockets.forEach { unsafe TCPSocket.alive($0.toOpaque())?.watchUnlessWatched() }
    unsafe sockets.removeAll(keepingCapacity: sockets.count <= 4096)
    unsafe spare = sockets
  }

  /// A socket that was given to ``watchLater(_:)`` is released.
  func forgetUnwatched(_ socket: TCPSocket) {
    let pointer = unsafe Unmanaged.passUnretained(socket).toOpaque()
    unsafe unwatched.removeAll { unsafe $0.toOpaque() == pointer }
  }

  // MARK: - Signals

  /// One that the program has kept is not used for another socket.
  func signal(_ kind: LoneSignal.Kind, of socket: TCPSocket) -> Signal<Void> {
    // No access to the two lasts longer than its line: otherwise each would be checked at run time.
    switch kind {
    case .readyRead:
      if isKnownUniquelyReferenced(&readyRead), let readyRead { return readyRead.referring(to: socket) }
      let signal = LoneSignal(kind, of: socket)
      readyRead = signal
      return signal
    case .disconnected:
      if isKnownUniquelyReferenced(&disconnected), let disconnected {
        return disconnected.referring(to: socket)
      }
      let signal = LoneSignal(kind, of: socket)
      disconnected = signal
      return signal
    }
  }

  // MARK: - Outgoing connections

  func keep(connecting socket: TCPSocket) {
    connecting[ObjectIdentifier(socket)] = socket
  }

  func release(connecting socket: TCPSocket) {
    connecting[ObjectIdentifier(socket)] = nil
  }

  // MARK: - Servers without descriptors

  func addOverloaded(_ server: ServerHandle) {
    guard !overloadedServers.contains(where: { $0 === server }) else { return }
    overloadedServers.append(server)
    hasOverloadedServers = true
    // Later, because the server has not yet noted what it lacks.
    if existingPipes?.closeFree() ?? false { engine.enqueue { [weak self] in self?.descriptorFreed() } }
  }

  func forgetOverloaded(_ server: ServerHandle) {
    overloadedServers.removeAll { $0 === server }
    hasOverloadedServers = !overloadedServers.isEmpty
  }

  func descriptorFreed() {
    overloadedServers.removeAll { !$0.descriptorFreed() }
    hasOverloadedServers = !overloadedServers.isEmpty
  }

  // MARK: - Servers that tasks wait for

  func addAwaited(_ server: ServerHandle) {
    awaitedServers.append(server)
  }

  func forgetAwaited(_ server: ServerHandle) {
    awaitedServers.removeAll { $0 === server }
  }

  // MARK: - End

  /// Waits for the peers that have not got everything. Their connections stay: the loop may run again.
  func deliverAll() async {
    let sockets = unsafe TCPSocket.watched(on: engine.base) + connecting.values
    await withTaskGroup { group in
      for socket in sockets where socket.output != nil || socket.hasUndelivered {
        group.addTask { await socket.waitUntilDelivered() }
      }
    }
  }

  /// Has the tasks that wait for a socket or for connections look again.
  func wakeWaiting() {
    for server in awaitedServers { server.acceptWaiters.wakeAll() }
    for socket in unsafe TCPSocket.watched(on: engine.base) + connecting.values {
      if let waiters = socket.existingWaiters { waiters.wakeAll(.recheck) }
    }
  }

  /// Ends every socket that the loop keeps alive. What is lingering has sent everything, and is left to the kernel.
  func abortAll() {
    for socket in unsafe TCPSocket.watched(on: engine.base) + connecting.values {
      if socket.flags.contains(.lingering) {
        socket.becomeUnconnected()
      } else {
        socket.abortHere()
      }
    }
  }
}
