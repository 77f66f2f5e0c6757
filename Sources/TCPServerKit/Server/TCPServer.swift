// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// A TCP server: Qt's documented `QTcpServer` on libevent.
///
/// Call ``listen(address:port:)``; then ``newConnection`` is emitted each time a client connects, and
/// ``nextPendingConnection()`` returns the connection as a ``TCPSocket``. Without an event loop,
/// ``waitForNewConnection(msec:timedOut:)`` does the waiting.
///
/// ```swift
/// let loop = try EventBase()
/// let server = TCPServer()
/// server.newConnection.connect {
///   guard let socket = server.nextPendingConnection() else { return }
///   socket.write("Hello\n")
///   socket.disconnectFromHost()
/// }
/// guard server.listen(port: 4242) else {
///   fputs(server.errorString + "\n", stderr)
///   exit(1)
/// }
/// loop.run()
/// ```
///
/// If an error occurs, ``serverError`` has its type and ``errorString`` a text for a person.
///
/// ## Thread
///
/// A server may be passed to any task and thread, and lives on its event base. `async` members work from every task.
/// ``close()``, ``finish()``, ``pauseAccepting()`` and ``resumeAccepting()`` may be called from every thread: elsewhere
/// than on the event base they are carried out there soon, in order. All other members answer from what the event base
/// changes: elsewhere they stop the program with a text that names them. <doc:Executors> lists which is which. To serve
/// connections on other threads, override ``incomingConnection(_:)``.
///
/// A subclass restates the conformance, `class Server: TCPServer, @unchecked Sendable`: what it overrides is called on
/// the event base's thread, and what it adds is its own to keep there.
///
/// `@unchecked Sendable` because of this invariant: what never changes may be read on any thread, all else is touched by
/// the thread that `confinement` allows alone.
///
/// ## Lifetime
///
/// Releasing a server closes it. A handler that captures its own server strongly keeps it alive for ever: where
/// a server is to end before the program does, capture it `[unowned server]`, or ``close()`` it. Connections that
/// were taken from it live on. Every member may be called from
/// every handler, ``close()`` included, and a handler may release the server.
@safe open class TCPServer: @unchecked Sendable {
  /// The loop that the server lives on; nil when it has none.
  public final let eventBase: EventBase?

  /// Emitted once for each new connection, after ``incomingConnection(_:)`` has returned.
  ///
  /// An override that keeps the descriptor to itself gets the signal as well: then nothing is pending.
  public final let newConnection: Signal<Void>

  /// Emitted when accepting fails for a reason that the program should know, once for each episode.
  ///
  /// Errors that concern one peer only are counted but not reported. On a lack of descriptors or memory the server
  /// goes on by itself when there are some again; see ``overloadPolicy``. When the listening socket
  /// itself is broken, the server has stopped listening: it looks every second whether another part of the
  /// program has closed or replaced the descriptor, or shut the socket down. A server that listens through a
  /// proxy reports that it has lost it; see <doc:ListeningThroughAProxy>.
  public final let acceptError: Signal<SocketError>

  /// Emitted when a proxy that was asked again listens at another address or port than before: see
  /// ``proxyBindings``.
  public final let serverAddressChanged: Signal<Void>

  /// Emitted for each client that was rejected: by ``admissionHandler``, by ``maxConnections`` or for lack of
  /// descriptors. Its connection has been closed by then.
  public final let connectionRejected: Signal<RejectedConnection>

  /// The event base's thread, or the one that uses a server without one first.
  final let confinement: ThreadConfinement

  @inline(__always) final func requireLoopThread(_ call: StaticString) {
    confinement.requireLoopThread(call)
  }

  /// From another thread: has the loop carry out an order soon, after those that this thread gave before.
  ///
  /// - Returns: false for the caller to carry it out itself.
  final func isPosted(_ call: StaticString, _ order: @escaping @Sendable (TCPServer) -> Void) -> Bool {
    guard !confinement.isOwner, !confinement.claim() else { return false }
    guard let engine = eventBase?.engine else {
      requireLoopThread(call)
      return false
    }
    engine.post(.closure { [self] in order(self) })
    return true
  }

  /// The same as its context's, which owns it.
  let core: OpaquePointer?
  /// Of the sockets that this server makes.
  final private(set) var context: SocketContext
  /// The same as its context's, which owns it.
  final var serverCore: ServerCore { unsafe unownedCore }
  unowned(unsafe) private let unownedCore: ServerCore
  /// The requests at a proxy that the server listens through; nil when it does not.
  final var proxyListener: ProxyListener?
  final var isPaused = false
  /// Of a server without an event base that listens: that nothing has waited for its clients.
  final var neverWaited: LateWarning?
  /// Whose member the server is.
  final weak var group: TCPServerGroup?
  final var isMember = false
  /// It has ended: no connection comes any more, until it is to listen again; a member, until its group listens.
  final var hasEnded = false
  final var ownProxy = NetworkProxy.default
  final var listenOptions = ProxyListenOptions()
  /// The last error's text, where it is not one of the core's.
  final var ownErrorText = ""
  /// What `finish(on:)` was given; see there.
  final var shutdownRegistration: ShutdownRegistration?
  /// Set on each listening socket; see `setSocketOption(_:_:)`.
  final var options: [SocketOption: Int] = [.lowDelay: 1]
  /// See `socketPreparation`.
  final var existingPreparation: ((CInt) -> CInt)?
  /// The kernel has refused an option of a socket that was to listen.
  final var refusedOption = false
  /// Sockets that were added as objects; each has a place in the core's queue.
  final var injectedSockets: [TCPSocket] = []

  /// Makes a server that does not listen yet.
  ///
  /// - Parameter eventBase: the loop to live on, by default this thread's, which is to be made before; nil for none, to
  ///   use ``waitForNewConnection(msec:timedOut:)``.
  public init(eventBase: EventBase? = .current) {
    self.eventBase = eventBase
    confinement = eventBase?.engine ?? ThreadConfinement(hasLoop: false)
    let serverCore = ServerCore(engine: eventBase?.engine, confinement: confinement)
    unsafe unownedCore = serverCore
    newConnection = serverCore.newConnection
    acceptError = serverCore.acceptError
    connectionRejected = serverCore.connectionRejected
    serverAddressChanged = Signal(on: confinement)
    unsafe core = serverCore.pointer
    context = SocketContext(in: eventBase?.socketContext, server: serverCore)
    unsafe serverCore.context = context
    context.watchesUnused = false
    // Only a subclass can override incomingConnection(_:); a plain server does without the call.
    if type(of: self) != TCPServer.self {
      serverCore.overrider = self
      serverCore.announceIncoming()
    }
    // A server that was made before its loop, for instance: its handlers would never be called, without a word.
    if eventBase == nil {
      CurrentEventBase.addLoopless { [weak self] in
        self.map { $0.newConnection.hasHandlers && $0.isListeningNow }
      }
    }
  }

  deinit {
    // What ends with a server, on its loop. Its core may stay for the sockets that it counts.
    let retained = unsafe Unmanaged.passRetained(context)
    nonisolated(unsafe) let end = { [proxyListener, injectedSockets] in
      let context = unsafe retained.takeRetainedValue()
      proxyListener?.close()
      for socket in injectedSockets { socket.becomeUnconnected() }
      (context.server as? ServerCore)?.serverEnds()
    }
    guard let engine = eventBase?.engine, engine.exclusively({ unsafe end() }) == nil else {
      if eventBase == nil { unsafe end() }
      return
    }
    // The last reference to the core, which is the loop's to end, may be this one.
    context = SocketContext(in: nil)
    engine.post(.local { unsafe end() })
  }

  // MARK: - Connections

  /// Whether a connection is pending.
  open var hasPendingConnections: Bool {
    requireLoopThread("TCPServer.hasPendingConnections")
    return unsafe csc_server_has_pending(core)
  }

  /// Takes the oldest pending connection, as a connected socket; nil when none is pending.
  ///
  /// The socket is the caller's alone: unlike in Qt, it does not end with the server.
  open func nextPendingConnection() -> TCPSocket? {
    requireLoopThread("TCPServer.nextPendingConnection()")
    var connection = csc_connection()
    guard unsafe csc_server_next_pending(core, &connection) else { return nil }
    proxyListener?.roomChanged()
    guard connection.descriptor >= 0 else {
      return injectedSockets.isEmpty ? nil : injectedSockets.removeFirst()
    }
    guard context.loop != nil else { return socketOfItsOwn(connection) }
    return TCPSocket(accepted: connection, context: context)
  }

  /// Without a loop each belongs to the thread that uses it first.
  @inline(never) private final func socketOfItsOwn(_ connection: csc_connection) -> TCPSocket {
    TCPSocket(accepted: connection, context: SocketContext(in: nil, server: serverCore))
  }

  /// Called for each new connection with its descriptor, before ``newConnection`` is emitted.
  ///
  /// This implementation adds the connection to the pending ones. An override takes the descriptor instead:
  /// it passes it to ``TCPSocket/setSocketDescriptor(_:)``, on any thread, or closes it, or calls `super` with
  /// it. Without ``addPendingConnection(_:)`` the pending mechanism is not used for that connection.
  ///
  /// A ``TCPSocket`` on this loop that takes the descriptor within the call counts among the server's connections until
  /// it ends. Where another thread or library serves the descriptor, ``takeIncomingPermit()`` lets it count; without
  /// that the connection counts no longer than the call.
  ///
  /// ``incomingPeer`` is the client.
  ///
  /// - Parameter socketDescriptor: non-blocking and close-on-exec; an override owns it.
  open func incomingConnection(_ socketDescriptor: CInt) {
    requireLoopThread("TCPServer.incomingConnection(_:)")
    if context.handsOver(socketDescriptor), var connection = context.handover?.connection {
      context.handover?.connection.descriptor = -1
      if unsafe csc_server_add_pending(core, &connection) {
        unsafe context.handover?.connection.proxied = nil
        if type(of: self) != TCPServer.self { serverCore.pendingAvailable?.notify() }
      } else {
        SystemCalls.closeDescriptor(socketDescriptor)
        serverCore.connectionEnded(from: connection.source)
      }
      return
    }
    let socket = TCPSocket(eventBase: eventBase)
    if socket.setSocketDescriptor(socketDescriptor) {
      addPendingConnection(socket)
    } else {
      fail(.unsupportedSocketOperation, "Invalid socket descriptor")
    }
  }

  /// Stops accepting until ``resumeAccepting()``; the kernel goes on queuing clients. Harmless at any time, and from
  /// any thread.
  public final func pauseAccepting() {
    guard !isPosted("TCPServer.pauseAccepting()", { $0.pauseAccepting() }) else { return }
    isPaused = true
    unsafe csc_server_pause(core)
  }

  /// Goes on accepting after ``pauseAccepting()``, or after an accept error with ``OverloadPolicy/strict``.
  /// From any thread.
  public final func resumeAccepting() {
    guard !isPosted("TCPServer.resumeAccepting()", { $0.resumeAccepting() }) else { return }
    isPaused = false
    unsafe csc_server_resume(core)
    proxyListener?.resume()
  }

  /// Emitted when a connection has become pending, before ``newConnection``: not for one that an overridden
  /// ``incomingConnection(_:)`` keeps to itself.
  public final var pendingConnectionAvailable: Signal<Void> {
    requireLoopThread("TCPServer.pendingConnectionAvailable")
    if let existing = serverCore.pendingAvailable {
      return existing
    }
    let signal = Signal<Void>(on: confinement)
    serverCore.pendingAvailable = signal
    return signal
  }

  func announceError(_ error: SocketError) {
    serverCore.announceError(error, isListening: isListeningNow)
  }

  func takeIncoming(_ connection: csc_connection) {
    let (context, loop) = (context, context.loop)
    let (outer, outerSource) = (context.handover, loop?.handingOver)
    context.handover = (connection, isPlaceTaken: false)
    loop?.handingOver = context
    incomingConnection(connection.descriptor)
    if let left = context.handover, left.connection.descriptor >= 0, !left.isPlaceTaken {
      serverCore.connectionEnded(from: left.connection.source)
    }
    if let left = unsafe context.handover?.connection.proxied { unsafe csc_proxied_free(left) }
    context.handover = outer
    loop?.handingOver = outerSource
  }
}
