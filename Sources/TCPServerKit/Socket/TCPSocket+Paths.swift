// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Connections of UNIX sockets, which have a path instead of addresses.
extension TCPSocket {
  /// Starts connecting to a server at a path, as `QLocalSocket` does; `@name` is an abstract name.
  ///
  /// ``connected`` or ``errorOccurred`` reports how it ended, or ``waitForConnected(msec:)``. A server whose queue is full
  /// is tried again for 30 seconds. No proxy is used.
  ///
  /// May be called from any thread.
  ///
  /// - Parameter path: 1 to 107 bytes; a relative one is of the working directory.
  public func connectToServer(path: String) {
    guard mayTouch else {
      return post("TCPSocket.connectToServer(path:)") { $0.connectToServer(path: path) }
    }
    // All is sent: what is still waited for is the end of a peer that does not matter any more.
    if flags.contains(.lingering) { becomeUnconnected() }
    guard currentState == .unconnected else {
      return record(Failure(.operation, "connectToServer() called on a socket in use"))
    }
    resetForConnection()
    peer.family = UInt8(CSC_FAMILY_UNIX.rawValue)
    let attempt = ConnectionAttempt(toPath: PathConnector(to: path))
    details.attempt = attempt
    context.loop?.keep(connecting: self)
    wait(for: attempt)
  }

  /// Connects to a server at a path, and waits for it; `@name` is an abstract name.
  ///
  /// - Parameters:
  ///   - path: 1 to 107 bytes; a relative one is of the working directory.
  ///   - timeout: how long it may take; at most 30 seconds, for a server whose queue is full.
  /// - Throws: what ``connectToServer(path:)`` reports, ``SocketError/hostNotFound`` where nothing is at the path, and
  ///   ``SocketError/socketTimeout``.
  ///
  /// ## Cancellation
  ///
  /// Gives up the attempt and throws `CancellationError`; the socket is unconnected again.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func connect(path: String, timeout: Duration? = nil) async throws {
    try await onLoop { socket in
      try await socket.connectAndWait(timeout) { $0.connectToServer(path: path) }
    }
  }

  /// Which process is the peer of a UNIX socket: nil for other sockets, and without a connection.
  ///
  /// The kernel vouches for it. Whom a server at a path lets in can depend on it:
  ///
  /// ```swift
  /// guard socket.peerCredentials?.userID == getuid() else { return socket.abort() }
  /// ```
  public var peerCredentials: PeerCredentials? {
    requireLoopThread("TCPSocket.peerCredentials")
    return descriptor < 0 ? nil : PeerCredentials(of: descriptor)
  }

  /// Whether this is a UNIX socket: what it has written is in its peer's queue, and stays there when it closes. There are
  /// no acknowledgements to wait for, and no resets.
  package var isUnix: Bool {
    peer.family == UInt8(CSC_FAMILY_UNIX.rawValue) || isOfUnixProxy
  }

  /// Whether the peer is the client that a proxy has named, and the proxy has connected to a path.
  private var isOfUnixProxy: Bool {
    existingDetails?.origin?.proxied?.proxyAddress.isNull ?? false
  }
}
