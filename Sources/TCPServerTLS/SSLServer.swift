// SPDX-License-Identifier: Apache-2.0

public import TCPServerKit

/// A server whose connections are encrypted: `QSslServer`.
///
/// ```swift
/// let server = SSLServer()
/// server.sslConfiguration = try SSLConfiguration(certificateFile: "server.pem", keyFile: "server.key")
/// guard server.listen(port: 4433) else { fatalError(server.errorString) }
/// try await server.serve { socket in
///   while let line = try await socket.readLine() { try await socket.write(line) }
/// }
/// ```
///
/// It is a ``TCPServerKit/TCPServer``, and its connections are ``TCPServerKit/TCPSocket``s as any other; what was
/// agreed with the peer is ``TCPServerKit/TCPSocket/encryption``. A connection becomes pending, is announced by
/// `newConnection` and given to `serve`, once it is encrypted. A client whose first byte is none of TLS is
/// disconnected.
///
/// ## Handshakes
///
/// A connection in its handshake counts for `maxConnections`, and not as pending: clients that are silent keep no other
/// from being served. They have ``handshakeTimeout`` for all of it, and where there are ``maxHandshakes`` of them, one
/// is closed for a new one. Between two looks at the sockets of the loop at most four steps of handshakes are made, so
/// that many new clients do not hold up those that are there. ``handshakeThreads`` makes them on other threads, and
/// ``handshakeRate`` bounds how many begin in a second.
///
/// The server's `statistics` count a connection as accepted when it comes, and as added when it is encrypted;
/// ``handshakeStatistics`` counts what becomes of the handshakes.
///
/// ## Ends
///
/// Closing the server ends the handshakes. A server that finishes, as in a graceful shutdown, waits for them.
///
/// A subclass that overrides `incomingConnection(_:)` calls `super` with the connections that are to be encrypted.
///
/// It needs an event base that runs: `waitForNewConnection` does nothing for handshakes.
@safe open class SSLServer: TCPServer, @unchecked Sendable {
  private var configuration = SSLConfiguration()
  private var context: SSLContext?
  /// Why there is no context for what handlers that were connected later need; it is not tried again.
  private var refusal: (use: SSLContextCache.Use, error: SSLError)?
  let handshakes: Handshakes

  /// Emitted when a handshake has failed, with the socket, which has ended or is about to; not for a peer that closes
  /// before its first byte, nor when the server is closed. ``TCPServerKit/TCPSocket/encryptionError`` has the reason;
  /// it is nil for a handshake that took too long (``TCPServerKit/SocketError/socketTimeout``), was ended for a new one
  /// (``TCPServerKit/SocketError/socketResource``), or whose client has ended the connection while the program was
  /// asked, or a thread had the handshake (``TCPServerKit/SocketError/remoteHostClosed``).
  public final let errorOccurred: Signal<(socket: TCPSocket, error: SocketError)>

  /// Emitted when a connection has been accepted, and its handshake begins.
  public final let startedEncryptionHandshake: Signal<TCPSocket>

  /// Emitted when there is something wrong with a client's certificate, before ``sslErrors``. Only where the
  /// configuration asks for certificates.
  public final let peerVerifyError: Signal<(socket: TCPSocket, error: SSLError)>

  /// Emitted when there is something wrong with a client's certificate. A handler may call
  /// ``TCPServerKit/TCPSocket/ignoreSSLErrors()`` to accept it; otherwise the handshake fails with
  /// ``SSLPeerVerifyMode/verify``, and goes on with ``SSLPeerVerifyMode/query``.
  ///
  /// While this, ``peerVerifyError`` or ``handshakeInterruptedOnError`` has handlers, a client with a certificate
  /// resumes no session.
  public final let sslErrors: Signal<(socket: TCPSocket, errors: [SSLError])>

  /// Emitted when there is something wrong with a client's certificate. With a handler the handshake waits, until
  /// ``TCPServerKit/TCPSocket/continueInterruptedHandshake()`` accepts the certificate, the program ends the socket, or
  /// ``handshakeTimeout`` has passed.
  public final let handshakeInterruptedOnError: Signal<(socket: TCPSocket, error: SSLError)>

  /// Emitted when a handshake has failed and the client was sent the reason: the number of an alert.
  public final let alertSent: Signal<(socket: TCPSocket, alert: UInt8)>

  /// Emitted when a client has refused the handshake by an alert.
  public final let alertReceived: Signal<(socket: TCPSocket, alert: UInt8)>

  /// Emitted when a client offers a pre-shared key. A handler sets
  /// ``SSLPreSharedKeyAuthenticator/preSharedKey`` to the key of its identity, before it returns; without one,
  /// ``SSLConfiguration/preSharedKeyHandler`` is asked.
  ///
  /// With handlers a server needs no certificate, where ``SSLConfiguration/preSharedKeyIdentityHint`` says so. A key is
  /// for TLS 1.2, as in Qt, and for TLS 1.3, where without one the handshake goes on with a certificate, if there is
  /// any. A client with a key sends no certificate, and resumes no session: a key that was withdrawn opens nothing.
  ///
  /// The signal is emitted within a step of the handshake. A handler may end the connection, close the server or
  /// release it.
  public final let preSharedKeyAuthenticationRequired:
    Signal<(socket: TCPSocket, authenticator: SSLPreSharedKeyAuthenticator)>

  /// Makes a server that does not listen yet, and that has no certificate: see ``sslConfiguration``.
  ///
  /// - Parameter eventBase: the loop to live on, by default this thread's, which is to be made before.
  public override init(eventBase: EventBase? = .current) {
    errorOccurred = Signal(eventBase: eventBase)
    startedEncryptionHandshake = Signal(eventBase: eventBase)
    peerVerifyError = Signal(eventBase: eventBase)
    sslErrors = Signal(eventBase: eventBase)
    handshakeInterruptedOnError = Signal(eventBase: eventBase)
    alertSent = Signal(eventBase: eventBase)
    alertReceived = Signal(eventBase: eventBase)
    preSharedKeyAuthenticationRequired = Signal(eventBase: eventBase)
    let handshakes = Handshakes(on: eventBase)
    self.handshakes = handshakes
    super.init(eventBase: eventBase)
    handshakes.server = self
    deliverLater { handshakes.endAll() }
  }

  /// How connections are encrypted; without a certificate at first.
  ///
  /// It may be set at any time, and holds for handshakes that begin later: this is how a certificate is renewed. One
  /// that cannot be used leaves the one before, with `serverError` ``TCPServerKit/SocketError/sslInvalidUserData`` and
  /// the setting in `errorString`; ``setSSLConfiguration(_:)`` throws instead.
  public final var sslConfiguration: SSLConfiguration {
    get {
      requireLoop("SSLServer.sslConfiguration")
      return configuration
    }
    set {
      do throws(SSLError) {
        try setSSLConfiguration(newValue)
      } catch {
        record(error.reason == .memory ? .socketResource : .sslInvalidUserData, error.text)
      }
    }
  }

  /// Sets ``sslConfiguration``.
  ///
  /// - Throws: ``SSLError/Reason/configuration`` with the setting that cannot be used, and why; the configuration is the one
  ///   before.
  public final func setSSLConfiguration(_ configuration: SSLConfiguration) throws(SSLError) {
    requireLoop("SSLServer.setSSLConfiguration(_:)")
    context = try configuration.context(SSLContextCache.Use(isClient: false), for: loopIdentity)
    self.configuration = configuration
    refusal = nil
  }

  /// How long a client may take for its handshake, from its connection on; 5 seconds at first. A byte gives no more
  /// time. Another value holds for the handshakes that have begun, too.
  public final var handshakeTimeout: Duration {
    get {
      requireLoop("SSLServer.handshakeTimeout")
      return handshakes.timeout
    }
    set {
      requireLoop("SSLServer.handshakeTimeout")
      handshakes.timeout = newValue
    }
  }

  /// How many connections may be in their handshake; 1,024 at first, less than 1 counts as 1. Beyond it one is closed
  /// for the new one: the oldest that has not sent a byte, or where more have sent some than have not, the one of those
  /// whose first byte came first. A lower value holds at once.
  public final var maxHandshakes: Int {
    get {
      requireLoop("SSLServer.maxHandshakes")
      return handshakes.limit
    }
    set {
      requireLoop("SSLServer.maxHandshakes")
      handshakes.limit = newValue
    }
  }

  /// What has become of the handshakes so far.
  public final var handshakeStatistics: HandshakeStatistics {
    requireLoop("SSLServer.handshakeStatistics")
    return handshakes.statistics
  }

  /// Begins the handshake of a new connection; once it is encrypted, it becomes pending.
  open override func incomingConnection(_ socketDescriptor: CInt) {
    requireLoop("SSLServer.incomingConnection(_:)")
    guard let socket = takeIncomingSocket(socketDescriptor) else {
      return record(.unsupportedSocketOperation, "Invalid socket descriptor")
    }
    let made: SSLContext?
    do throws(SSLError) {
      made = try contextForNext()
    } catch {
      record(error.reason == .memory ? .socketResource : .sslInvalidUserData, error.text)
      return socket.abort()
    }
    guard let context = made, eventBase != nil else {
      record(.sslInvalidUserData, "A server needs a certificate, its key, and an event base")
      return socket.abort()
    }
    guard let transport = SSLTransport(context, of: socket, descriptor: socket.socketDescriptor) else {
      record(.socketResource, SSLError.outOfMemory.text)
      return socket.abort()
    }
    if preSharedKeyAuthenticationRequired.isConnected {
      transport.owner?.keyQuestion = preSharedKeyAuthenticationRequired
    }
    if handshakes.begin(socket, transport) { startedEncryptionHandshake.emit(socket) }
  }

  /// The program is asked about certificates, and for keys, only where it has handlers for that.
  private final func contextForNext() throws(SSLError) -> SSLContext? {
    let isAsked =
      peerVerifyError.isConnected || sslErrors.isConnected || handshakeInterruptedOnError.isConnected
    let use = SSLContextCache.Use(
      isClient: false,
      asksAboutCertificates: isAsked && configuration.asksForCertificates(isClient: false),
      asksForKeys: preSharedKeyAuthenticationRequired.isConnected
    )
    guard use.asksAboutCertificates || use.asksForKeys else { return context }
    if let refusal, refusal.use == use { throw refusal.error }
    do throws(SSLError) {
      return try configuration.context(use, for: loopIdentity)
    } catch {
      // It may have read files: not once for each client. Memory may be there again.
      if error.reason != .memory { refusal = (use, error) }
      throw error
    }
  }

  final func handshakeFailed(_ handshake: Handshake) {
    let (socket, transport) = (handshake.socket, handshake.transport)
    guard transport.error?.reason != .closedSilently else { return }
    if let alert = transport.alert(sent: true) { alertSent.emit((socket, alert)) }
    if let alert = transport.alert(sent: false) { alertReceived.emit((socket, alert)) }
    errorOccurred.emit((socket, socket.error))
  }

  /// The server has given up a handshake.
  final func handshakeGivenUp(_ handshake: Handshake, _ error: SocketError) {
    errorOccurred.emit((handshake.socket, error))
  }

  final func isAsked(about handshake: Handshake) {
    guard !handshake.waitsForAnswer, !handshake.transport.waitsForTask else { return }
    handshake.waitsForAnswer = true
    let (socket, transport) = (handshake.socket, handshake.transport)
    let error = transport.certificateError
    // A handler may end the connection.
    peerVerifyError.emit((socket, error))
    guard !handshake.isOver else { return }
    sslErrors.emit((socket, [error]))
    guard !handshake.isOver else { return }
    if handshakeInterruptedOnError.isConnected, !transport.ignoresErrors {
      return handshakeInterruptedOnError.emit((socket, error))
    }
    transport.answerCertificate(transport.ignoresErrors || !transport.requiresValid)
    socket.continueHandshake()
  }
}

extension TCPSocket {
  /// Accepts the peer's certificate in spite of its errors: to be called by a handler of ``SSLServer/sslErrors``, or of
  /// ``SSLServer/startedEncryptionHandshake`` for all that may come. On the socket's event base.
  public func ignoreSSLErrors() {
    (transport as? SSLTransport)?.ignoresErrors = true
  }

  /// Accepts the peer's certificate after ``SSLServer/handshakeInterruptedOnError``, and goes on with the handshake. On
  /// the socket's event base.
  public func continueInterruptedHandshake() {
    guard let transport = transport as? SSLTransport, transport.holder == .none, !transport.isStepping,
      !transport.waitsForTask
    else { return }
    transport.answerCertificate(true)
    continueHandshake()
  }
}
