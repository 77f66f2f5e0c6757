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
/// if server.listen(port: 4242) {
///   loop.run()
/// } else {
///   print(server.errorString)
/// }
/// ```
///
/// If an error occurs, ``serverError`` has its type and ``errorString`` a text for a person.
///
/// ## Thread
///
/// A server and its sockets belong to the thread that runs their event base. It is not `Sendable`, so the
/// compiler rejects most misuse; debug builds trap on the rest. To serve connections on other threads,
/// override ``incomingConnection(_:)``.
///
/// ## Lifetime
///
/// Releasing a server closes it. A handler that captures its own server strongly keeps it alive for ever: where
/// a server is to end before the program does, capture it `[unowned server]`, or ``close()`` it. Connections that
/// were taken from it live on. Every member may be called from
/// every handler, ``close()`` included, and a handler may release the server.
@safe open class TCPServer {
  /// The loop that the server lives on; nil when it has none.
  public final let eventBase: EventBase?

  /// Emitted once for each new connection, after ``incomingConnection(_:)`` has returned.
  ///
  /// An override that keeps the descriptor to itself gets the signal as well: then nothing is pending.
  public final let newConnection: Signal<Void>

  /// Emitted when accepting fails for a reason that the program should know, once for each episode.
  ///
  /// Errors that concern one peer only are counted but not told. On a lack of descriptors or memory the server
  /// goes on by itself when there are some again; see ``overloadPolicy``. When the listening socket
  /// itself is broken, the server has stopped listening: it looks every second whether another part of the
  /// program has closed or replaced the descriptor, or shut the socket down. A server that listens through a
  /// proxy tells when it has lost it; see <doc:ListeningThroughAProxy>.
  public final let acceptError: Signal<SocketError>

  /// Which proxy the server listens through, from the next ``listen(address:port:)`` on.
  ///
  /// ``NetworkProxy/default`` at first, which is no proxy unless the application sets one: neither the
  /// environment nor the system is ever asked. An address of this machine's own (loopback) needs no proxy and
  /// uses none.
  public final var proxy: NetworkProxy = .default

  /// How the server behaves when it listens through a proxy, from the next ``listen(address:port:)`` on.
  public final var proxyListening = ProxyListening()

  /// Emitted when a proxy that was asked anew listens at another address or port than before: see
  /// ``proxyBindings``.
  public final let serverAddressChanged: Signal<Void>

  /// Decides about each client before anything is made for it; nil, the default, admits all.
  ///
  /// Called with the client's address and port. It may call anything of the server, ``close()`` included, and
  /// release it.
  public final var admission: ((HostAddress, UInt16) -> Admission)? {
    didSet {
      let context = unsafe Unmanaged.passUnretained(self).toOpaque()
      unsafe csc_server_on_admission(core, admission == nil ? nil : onAdmission, context)
    }
  }

  /// Emitted for each client that was turned away: by ``admission``, by ``maxConnections`` or for lack of
  /// descriptors. Its connection has been closed by then.
  public final let connectionRejected: Signal<RejectedConnection>

  /// The event base's thread, or the one that uses a server without one first.
  final let confinement: ThreadConfinement
  /// The same as its home's, which owns it.
  let core: OpaquePointer?
  /// Of the sockets that this server makes.
  final let home: SocketHome
  /// For connections that may leave the loop.
  private var existingElsewhere: ServerElsewhere?
  /// The requests at a proxy that the server listens through; nil when it does not.
  final var bound: BoundListener?
  final var isPaused = false
  /// The last error's text, where it is not one of the core's.
  final var ownErrorText = ""
  /// The tasks that wait in `accept()`.
  final let acceptWaiters = WaitingLine()
  /// What `finish(on:)` was given; see there.
  final var ending: Ending?
  /// Set on each listening socket; see `setSocketOption(_:_:)`.
  final var options: [SocketOption: Int] = [.lowDelay: 1]
  /// See `socketPreparation`.
  final var existingPreparation: ((CInt) -> CInt)?
  /// The kernel has refused an option of a socket that was to listen.
  final var refusedOption = false
  /// See `pendingConnectionAvailable`.
  final var existingPendingAvailable: Signal<Void>?
  /// Why the listening socket broke; forgotten when the server listens anew.
  final var breakdown: SocketError?
  /// Sockets that were added as objects; each has a place in the core's queue.
  private var added: [TCPSocket] = []
  /// The connection that an incoming callback is at work on; its descriptor is -1 once it is pending.
  final private(set) var inFlight: csc_connection?

  /// Makes a server that does not listen yet.
  ///
  /// - Parameter eventBase: the loop to live on, by default this thread's, which is to be made before; nil for none, to
  ///   use ``waitForNewConnection(msec:timedOut:)``.
  public init(eventBase: EventBase? = .current) {
    self.eventBase = eventBase
    confinement = eventBase?.engine ?? ThreadConfinement(hasLoop: false)
    newConnection = Signal(on: confinement)
    acceptError = Signal(on: confinement)
    serverAddressChanged = Signal(on: confinement)
    connectionRejected = Signal(on: confinement)
    unsafe core = csc_server_new(eventBase?.engine.base)
    home = unsafe SocketHome(engine: eventBase?.engine, server: ServerCore(core))
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    unsafe csc_server_on_new_connection(core, onNewConnection, context)
    unsafe csc_server_on_accept_error(core, onAcceptError, context)
    unsafe csc_server_on_rejected(core, onRejected, context)
    unsafe csc_server_on_socket(core, onSocket, context)
    unsafe home.server?.owner = self
    // Only a subclass can override incomingConnection(_:); a plain server does without the call.
    if type(of: self) != TCPServer.self {
      unsafe csc_server_on_incoming_connection(core, onIncomingConnection, context)
    }
    if eventBase == nil { CurrentEventBase.add(self) }
  }

  deinit {
    unsafe home.server?.owner = nil
    bound?.close()
    endAdded()
    existingElsewhere?.serverEnds()
    // It may stay for the sockets that it counts.
    unsafe csc_server_close(core)
    unsafe csc_server_on_new_connection(core, nil, nil)
    unsafe csc_server_on_accept_error(core, nil, nil)
    unsafe csc_server_on_incoming_connection(core, nil, nil)
    unsafe csc_server_on_admission(core, nil, nil)
    unsafe csc_server_on_rejected(core, nil, nil)
    unsafe csc_server_on_socket(core, nil, nil)
  }

  // MARK: - Listening

  /// Listens for connections on an address and port.
  ///
  /// Through a ``proxy`` it blocks until that has answered, for ``NetworkProxy/timeout`` at most;
  /// ``startListening(address:port:)`` suspends instead.
  ///
  /// - Parameters:
  ///   - address: one of this machine's addresses; ``HostAddress/any``, the default, is every interface, IPv4
  ///     and IPv6. ``HostAddress/null`` is refused.
  ///   - port: the port; 0, the default, lets the kernel choose one, which ``serverPort`` tells.
  /// - Returns: true on success. Otherwise ``serverError`` and ``errorString`` say why, and nothing is left
  ///   open.
  @discardableResult
  public final func listen(address: HostAddress = .any, port: UInt16 = 0) -> Bool {
    checkThread()
    switch prepareListening(address, port) {
    case .direct: return listenDirectly(address, port)
    case .through(let listener): return listen(through: listener)
    case .refused: return false
    }
  }

  func listenDirectly(_ address: HostAddress, _ port: UInt16) -> Bool {
    breakdown = nil
    refusedOption = false
    var address = address.core(port: port)
    let listens = unsafe csc_server_listen(core, &address)
    if !listens && refusedOption { fail(.unsupportedSocketOperation, "A socket option was refused") }
    return listens
  }

  /// A pause ends with the listening that it interrupted. One that is asked for before the next holds for that.
  func endPause() {
    if isPaused { resumeAccepting() }
  }

  /// Stops listening and closes the connections that are still pending. Connections taken before are not
  /// touched; settings and the last error stay. No signal is emitted.
  ///
  /// Clients that the kernel had queued for the server are reset.
  public final func close() {
    checkThread()
    exchange(&bound, with: nil)?.close()
    unsafe csc_server_close(core)
    endPause()
    endAdded()
    acceptWaiters.wakeAll()
    home.server?.endWatch?.lookWhetherAllEnded()
  }

  /// Letting go of them would not do: the loop keeps a socket alive that it watches for its handlers.
  private func endAdded() {
    for socket in exchange(&added, with: []) {
      socket.becomeUnconnected()
    }
  }

  /// Whether the server listens.
  public final var isListening: Bool {
    unsafe csc_server_is_listening(core) || bound?.isListening == true
  }

  /// The address the server listens on, or a proxy for it; ``HostAddress/null`` when it does not.
  public final var serverAddress: HostAddress {
    unsafe bound?.binding?.address ?? HostAddress(csc_server_address(core))
  }

  /// The port the server listens on, or a proxy for it; 0 when it does not.
  public final var serverPort: UInt16 {
    unsafe bound?.binding?.port ?? csc_server_port(core)
  }

  /// The listening descriptor, which the server owns; -1 when it does not listen. The server holds a duplicate
  /// for its own use beside it. Through a proxy, the connection to that; -1 while none stands.
  public final var socketDescriptor: CInt {
    unsafe bound?.socketDescriptor ?? csc_server_descriptor(core)
  }

  /// Takes over a listening socket, such as one that a service manager opened.
  ///
  /// - Returns: true when the descriptor is the server's now; false when it is not a listening IPv4 or IPv6
  ///   stream socket, belongs to another server, or this server listens already. Then ``errorString`` says
  ///   which, and the descriptor is untouched and still the caller's.
  @discardableResult
  public final func setSocketDescriptor(_ socketDescriptor: CInt) -> Bool {
    checkThread()
    guard bound == nil else {
      fail(.operation, "setSocketDescriptor() called when already listening")
      return false
    }
    breakdown = nil
    guard unsafe csc_server_adopt(core, socketDescriptor) else { return false }
    // The connections inherit it, as from a socket of the server's own.
    SystemCalls.keepUrgentBytesInLine(socketDescriptor)
    return true
  }

  // MARK: - Connections

  /// Whether a connection is pending.
  open var hasPendingConnections: Bool {
    unsafe csc_server_has_pending(core)
  }

  /// Takes the oldest pending connection, as a connected socket; nil when none is pending.
  ///
  /// The socket is the caller's alone: unlike in Qt, it does not end with the server. It cannot be used from
  /// another thread; for that, override ``incomingConnection(_:)``.
  open func nextPendingConnection() -> TCPSocket? {
    checkThread()
    var connection = csc_connection()
    guard unsafe csc_server_next_pending(core, &connection) else { return nil }
    bound?.roomChanged()
    guard connection.descriptor >= 0 else {
      return added.isEmpty ? nil : added.removeFirst()
    }
    return TCPSocket(accepted: connection, home: home)
  }

  /// How long the peers of connections that are being closed may make no progress; 30 seconds at first.
  ///
  /// For the connections that are taken from now on; see ``TCPSocket/deliveryTimeout``.
  public final var deliveryTimeout: Duration {
    get { home.deliveryTimeout }
    set {
      checkThread()
      home.deliveryTimeout = newValue
      existingElsewhere?.deliveryTimeout.withLock { $0 = newValue }
    }
  }

  /// Of this server's connections, on whichever loop.
  final var undelivered: UInt64 {
    (home.server?.undelivered ?? 0) + (existingElsewhere?.undeliveredCount ?? 0)
  }

  var elsewhere: ServerElsewhere {
    if let existingElsewhere {
      return existingElsewhere
    }
    let elsewhere = ServerElsewhere(self)
    existingElsewhere = elsewhere
    return elsewhere
  }

  /// Takes the oldest pending connection as its bare descriptor, out of its socket if it was added as one.
  func takePending() -> csc_connection? {
    var connection = csc_connection()
    if type(of: self) != TCPServer.self {
      // An override decides what comes next.
      while let socket = nextPendingConnection() {
        connection.peer = socket.peer
        connection.descriptor = socket.detach(stayingCounted: true)
        if connection.descriptor >= 0 { return connection }
      }
      return nil
    }
    guard unsafe csc_server_next_pending(core, &connection) else { return nil }
    bound?.roomChanged()
    if connection.descriptor < 0 {
      guard !added.isEmpty else { return nil }
      let socket = added.removeFirst()
      connection.peer = socket.peer
      connection.descriptor = socket.detach(stayingCounted: true)
    }
    return connection.descriptor >= 0 ? connection : nil
  }

  /// Adds a socket to the pending connections, whatever ``maxPendingConnections`` says.
  ///
  /// For an overridden ``incomingConnection(_:)`` that makes its own socket. ``nextPendingConnection()``
  /// returns that very object.
  public final func addPendingConnection(_ socket: TCPSocket) {
    checkThread()
    var place = csc_connection()
    place.descriptor = -1
    if unsafe csc_server_add_pending(core, &place) {
      added.append(socket)
      count(socket)
      // Unlike a signal, a task that waits for what is pending is told of this, too.
      acceptWaiters.wakeFirst()
      existingPendingAvailable?.notify()
    }
  }

  /// Its place in the queue counts from now on, instead of what counted before.
  private func count(_ socket: TCPSocket) {
    if socket.flags.contains(.counted) {
      socket.stopBeingCounted()
    } else if isInFlight(socket.descriptor) {
      connectionEnded()
    }
    if socket.descriptor >= 0 {
      socket.beCounted(by: home)
    } else {
      connectionEnded()
    }
  }

  /// Called for each new connection with its descriptor, before ``newConnection`` is emitted.
  ///
  /// This implementation adds the connection to the pending ones. An override takes the descriptor instead:
  /// it passes it to ``TCPSocket/setSocketDescriptor(_:)``, on any thread, or closes it, or calls `super` with
  /// it. Without ``addPendingConnection(_:)`` the pending mechanism is not used for that connection.
  ///
  /// A ``TCPSocket`` on this loop that takes the descriptor within the call tells the server when it has ended;
  /// otherwise the override does so, by ``connectionEnded()``, or on another thread by ``tellConnectionEnded``.
  ///
  /// Whose connection it is, ``incomingPeer`` tells.
  ///
  /// - Parameter socketDescriptor: non-blocking and close-on-exec; an override owns it.
  open func incomingConnection(_ socketDescriptor: CInt) {
    checkThread()
    if isInFlight(socketDescriptor), var connection = inFlight {
      inFlight?.descriptor = -1
      if unsafe csc_server_add_pending(core, &connection) {
        if type(of: self) != TCPServer.self { existingPendingAvailable?.notify() }
      } else {
        SystemCalls.closeDescriptor(socketDescriptor)
        connectionEnded()
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

  private func isInFlight(_ descriptor: CInt) -> Bool {
    descriptor >= 0 && inFlight?.descriptor == descriptor
  }

  /// Waits for a connection without running the event loop.
  ///
  /// True at once when a connection is pending, whether or not the server listens. Otherwise everything that the kernel
  /// holds is accepted, up to the limit, ``newConnection`` being emitted for each; where a handler or an overridden
  /// ``incomingConnection(_:)`` has taken them all, it waits on. Works while accepting is paused. Signals of the
  /// operating system do not shorten the wait.
  ///
  /// - Parameters:
  ///   - msec: milliseconds to wait at most; 0, the default, only looks; -1 waits without limit.
  ///   - timedOut: if not nil, set to whether the time ran out; untouched when the server does not listen.
  /// - Returns: whether ``hasPendingConnections`` is true now. False with ``SocketError/socketTimeout`` when the time
  ///   ran out, with another ``serverError`` when accepting failed, and when the server does not listen.
  @available(*, noasync, message: "It blocks its thread: use accept() or connections")
  @safe @discardableResult
  public final func waitForNewConnection(
    msec: Int = 0,
    timedOut: UnsafeMutablePointer<Bool>? = nil
  ) -> Bool {
    checkThread()
    let deadline = msec < 0 ? nil : ContinuousClock.now + Duration.milliseconds(msec).limited
    while true {
      if hasPendingConnections {
        if isListening { unsafe timedOut?.pointee = false }
        return true
      }
      guard unsafe waitOnce(until: deadline, timedOut) else { return hasPendingConnections }
    }
  }

  private func waitOnce(
    until deadline: ContinuousClock.Instant?,
    _ timedOut: UnsafeMutablePointer<Bool>?
  ) -> Bool {
    if let bound {
      return unsafe wait(for: bound, until: deadline, timedOut)
    }
    // Rounded up, so that the last round is not over too early.
    let left = deadline.map { max(($0 - .now) / .milliseconds(1), 0).rounded(.up) }
    return unsafe csc_server_wait(core, left.map { CInt(clamping: Int($0)) } ?? -1, timedOut)
  }

  /// Stops accepting until ``resumeAccepting()``; the kernel goes on queuing clients. Harmless at any time.
  public final func pauseAccepting() {
    checkThread()
    isPaused = true
    unsafe csc_server_pause(core)
  }

  /// Goes on accepting after ``pauseAccepting()``, or after an accept error with ``OverloadPolicy/strict``.
  public final func resumeAccepting() {
    checkThread()
    isPaused = false
    unsafe csc_server_resume(core)
    bound?.resume()
  }

  func checkThread() {
    eventBase?.engine.assertOnLoopThread()
  }

  /// Emitted when a connection has become pending, before ``newConnection``: not for one that an overridden
  /// ``incomingConnection(_:)`` keeps to itself.
  public final var pendingConnectionAvailable: Signal<Void> {
    if let existingPendingAvailable {
      return existingPendingAvailable
    }
    let signal = Signal<Void>(on: confinement)
    existingPendingAvailable = signal
    return signal
  }

  fileprivate func announceConnection() {
    // An override says for each what becomes of it.
    if type(of: self) == TCPServer.self { existingPendingAvailable?.notify() }
    newConnection.notify()
    acceptWaiters.wakeFirst()
  }

  func announceError(_ error: SocketError) {
    if !isListening {
      breakdown = error
      acceptWaiters.wakeAll()
    }
    acceptError.notify(error)
  }

  fileprivate func takeIncoming(_ connection: csc_connection) {
    let outer = inFlight
    let engine = eventBase?.engine
    let outerIncoming = engine?.incoming
    inFlight = connection
    engine?.incoming = (connection, home)
    incomingConnection(connection.descriptor)
    inFlight = outer
    engine?.incoming = outerIncoming
  }

  fileprivate func coreFailed(_ error: SocketError) {
    if isListening, let server = home.server {
      eventBase?.engine.addStarving(server)
    }
    announceError(error)
  }

  /// Runs what a callback of the core does; see `EventEngine.inCallback(_:)`.
  @inline(__always)
  final func inCallback<Result>(_ body: () -> Result) -> Result {
    guard let engine = eventBase?.engine else { return body() }
    return engine.inCallback(body)
  }

  /// The server that a callback of its core was given.
  static func of(_ context: UnsafeMutableRawPointer?) -> TCPServer? {
    unsafe context.map { unsafe Unmanaged<TCPServer>.fromOpaque($0).takeUnretainedValue() }
  }
}

extension TCPServer: LoopClient {
  /// A server that was made before its loop, for instance: its handlers would never be called, without a word.
  var waitsForLoop: Bool {
    eventBase == nil && newConnection.isUsed && isListening
  }
}

// MARK: - Callbacks of the core

private func onNewConnection(_: OpaquePointer, context: UnsafeMutableRawPointer?) {
  guard let server = unsafe TCPServer.of(context) else { return }
  server.inCallback { server.announceConnection() }
}

private func onIncomingConnection(
  _: OpaquePointer,
  connection: UnsafePointer<csc_connection>,
  context: UnsafeMutableRawPointer?
) {
  guard let server = unsafe TCPServer.of(context) else { return }
  server.inCallback { unsafe server.takeIncoming(connection.pointee) }
}

private func onAcceptError(_: OpaquePointer, error: csc_error, context: UnsafeMutableRawPointer?) {
  guard let server = unsafe TCPServer.of(context) else { return }
  server.inCallback { server.coreFailed(SocketError(error)) }
}
