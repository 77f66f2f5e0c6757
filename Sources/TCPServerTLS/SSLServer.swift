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
/// It is a ``TCPServerKit/TCPServer``, and its connections are ``TCPServerKit/TCPSocket``s as any other; what was agreed
/// with the peer is ``TCPServerKit/TCPSocket/encryption``. A connection becomes pending, is announced by `newConnection` and
/// given to `serve`, once it is encrypted. A client whose first byte is none of TLS is disconnected.
///
/// ## Handshakes
///
/// A connection in its handshake counts for `maxConnections`, and not as pending: clients that are silent keep no other
/// from being served. They have ``handshakeTimeout`` for all of it, and where there are ``maxHandshakes`` of them, the
/// oldest that has not sent a byte is closed for a new one. Between two looks at the sockets of the loop at most four steps
/// of handshakes are made, so that many new clients do not hold up those that are there.
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
  private let handshakes: Handshakes

  /// Emitted when a handshake has failed, with the socket, which has ended or is about to; not for a peer that closes before
  /// its first byte. ``TCPServerKit/TCPSocket/encryptionError`` has the reason.
  public final let errorOccurred: Signal<(socket: TCPSocket, error: SocketError)>

  /// Emitted when a connection has been accepted, and its handshake begins.
  public final let startedEncryptionHandshake: Signal<TCPSocket>

  /// Makes a server that does not listen yet, and that has no certificate: see ``sslConfiguration``.
  ///
  /// - Parameter eventBase: the loop to live on, by default this thread's, which is to be made before.
  public override init(eventBase: EventBase? = .current) {
    errorOccurred = Signal(eventBase: eventBase)
    startedEncryptionHandshake = Signal(eventBase: eventBase)
    let handshakes = Handshakes(on: eventBase)
    self.handshakes = handshakes
    super.init(eventBase: eventBase)
    handshakes.server = self
    deliverLater { handshakes.endAll() }
  }

  /// How connections are encrypted; without a certificate at first.
  ///
  /// It may be set at any time, and holds for handshakes that begin later: this is how a certificate is renewed. One that
  /// cannot be used leaves the one before, with `serverError` ``TCPServerKit/SocketError/sslInvalidUserData`` and the
  /// setting in `errorString`; ``setSSLConfiguration(_:)`` throws instead.
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
    context = try configuration.context(isClient: false, for: eventBase.map { ObjectIdentifier($0) })
    self.configuration = configuration
  }

  /// How long a client may take for its handshake, from its connection on; 5 seconds at first. A byte gives no more time.
  /// Another value holds for the handshakes that have begun, too.
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

  /// How many connections may be in their handshake; 1,024 at first, less than 1 counts as 1. Beyond it the oldest that has
  /// not sent a byte is closed, or where all have, the oldest.
  public final var maxHandshakes: Int {
    get {
      requireLoop("SSLServer.maxHandshakes")
      return handshakes.most
    }
    set {
      requireLoop("SSLServer.maxHandshakes")
      handshakes.most = newValue
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
    guard let context, eventBase != nil else {
      record(.sslInvalidUserData, "A server needs a certificate, its key, and an event base")
      return socket.abort()
    }
    let made = SSLTransport(context, descriptor: socket.socketDescriptor, clientOf: nil, isClient: false)
    guard let transport = made else {
      record(.socketResource, "There is not enough memory")
      return socket.abort()
    }
    startedEncryptionHandshake.emit(socket)
    handshakes.begin(socket, transport)
  }

  final func handshakeFailed(_ socket: TCPSocket, _ error: SSLError?) {
    guard error?.reason != .closedSilently else { return }
    errorOccurred.emit((socket, socket.error))
  }
}
