// SPDX-License-Identifier: Apache-2.0

public import TCPServerKit

/// Encrypting a connection that is there: of a client, and where a protocol begins in the clear (STARTTLS).
extension TCPSocket {
  /// Encrypts the connection as a server; what is read and written afterwards is encrypted.
  ///
  /// For a protocol that begins in the clear. What the peer has sent before, and was not read, makes the call fail: it
  /// must not be taken for what was encrypted. A server whose connections are encrypted from the first byte is an
  /// ``SSLServer``.
  ///
  /// ```swift
  /// try await socket.startServerEncryption(configuration, after: "220 Go ahead\r\n")
  /// ```
  ///
  /// A write of another task that waits meanwhile is not given up before the handshake is over: its timeout counts
  /// after that.
  ///
  /// - Parameters:
  ///   - configuration: with a certificate at least; one for all connections.
  ///   - answer: is written before, in the clear: the peer begins when it has it.
  ///   - timeout: for all of it.
  /// - Throws: ``SSLError``, and the connection has ended, or is ending so that the peer learns the reason;
  ///   ``SSLError/Reason/configuration`` for a configuration that cannot be used, and nothing was changed or written;
  ///   ``TCPServerKit/SocketError/remoteHostClosed`` where the program has ended the socket meanwhile;
  ///   ``TCPServerKit/SocketError/socketTimeout``, and the connection was reset; ``TCPServerKit/SocketError/operation`` for
  ///   a socket that is not connected, is encrypted already, holds unread or unsent bytes, is within a transaction, or has
  ///   no event base. Nothing was written then, unless bytes came in the clear behind the answer: the connection was reset.
  ///
  /// ## Cancellation
  ///
  /// Resets the connection, and throws `CancellationError`.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func startServerEncryption(
    _ configuration: SSLConfiguration,
    after answer: String = "",
    timeout: Duration = .seconds(5)
  ) async throws {
    try await encrypting(isClient: false, after: Array(answer.utf8), timeout) {
      descriptor,
      place throws(SSLError) in
      let context = try configuration.context(SSLContextCache.Use(isClient: false), for: place)
      return SSLTransport(context, of: self, descriptor: descriptor)
    }
  }

  /// Encrypts the connection as a client.
  ///
  /// ```swift
  /// let configuration = SSLConfiguration()  // one for all connections
  /// let socket = TCPSocket()
  /// try await socket.connect(to: "www.example.com", port: 443)
  /// try await socket.startClientEncryption(configuration, serverName: "www.example.com")
  /// ```
  ///
  /// - Parameters:
  ///   - configuration: without authorities of its own the system's are accepted.
  ///   - serverName: the name, or the IP address, that the server's certificate has to be for. Nil only where certificates
  ///     are not verified (``SSLPeerVerifyMode/none``), or with ``SSLConfiguration/preSharedKeyHandler``: then no certificate
  ///     is accepted, and the server has to have the key.
  ///   - session: of an earlier connection to the same server, from ``encryptionSession``; empty for none. Each is to be
  ///     used once.
  ///   - timeout: for all of it.
  /// - Throws: what ``startServerEncryption(_:after:timeout:)`` does; ``SSLError/Reason/configuration`` for a name that
  ///   cannot be one.
  ///
  /// ## Cancellation
  ///
  /// Resets the connection, and throws `CancellationError`.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func startClientEncryption(
    _ configuration: SSLConfiguration,
    serverName: String?,
    resuming session: [UInt8] = [],
    timeout: Duration = .seconds(5)
  ) async throws {
    try await encrypting(isClient: true, after: [], timeout) { descriptor, place throws(SSLError) in
      let context = try configuration.context(SSLContextCache.Use(isClient: true), for: place)
      let made = SSLTransport(context, of: self, descriptor: descriptor, clientOf: serverName)
      guard let made else { throw SSLError(.configuration, "The server's name is missing, or cannot be one") }
      made.resume(session)
      return made
    }
  }

  private func encrypting(
    isClient: Bool,
    after answer: [UInt8],
    _ timeout: Duration,
    _ make: (CInt, (any AnyObject & Sendable)?) throws(SSLError) -> SSLTransport?
  ) async throws {
    var transport: SSLTransport?
    do {
      try await encrypt(isReading: !isClient, after: answer, timeout: timeout) {
        descriptor throws(SSLError) in
        // On the loop, which alone may change it.
        guard let made = try make(descriptor, loopIdentity) else {
          throw SSLError.outOfMemory
        }
        transport = made
        return made
      }
    } catch {
      // What the library says of it is more than what the socket does.
      if case .sslHandshakeFailed? = error as? SocketError, let reason = transport?.error { throw reason }
      if case .remoteHostClosed? = error as? SocketError, let reason = transport?.error { throw reason }
      throw error
    }
  }

  /// The session of a client's connection, by which a later one to the same server costs less; empty when the server
  /// has not sent one. A server sends it with its first bytes, or after them: ask when something was read, on the
  /// socket's event base. Keep it as secret as what it is used for.
  public var encryptionSession: [UInt8] {
    (transport as? SSLTransport)?.session ?? []
  }
}
