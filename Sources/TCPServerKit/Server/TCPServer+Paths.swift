// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Listening at a path, for clients of the same machine.
extension TCPServer {
  /// Listens at a path, with a UNIX socket, as `QLocalServer` does.
  ///
  /// ```swift
  /// server.listen(path: "/run/example/server.socket", permissions: 0o660)
  /// ```
  ///
  /// All else is as with ``listen(address:port:)``. A peer has no address, but ``TCPSocket/peerCredentials``.
  /// <doc:UnixSockets> has the rules about the file and what is different.
  ///
  /// - Parameters:
  ///   - path: 1 to 107 bytes; a relative one is of the working directory. One that begins with `@` is an abstract name,
  ///     which has no file and no permissions.
  ///   - permissions: of the file, 0 to 0o777, whatever the umask is; 0o660 at first. A client needs that to write. Nil for
  ///     an abstract name.
  ///   - removingStale: whether the file of a server that has ended without removing it is replaced: a socket of this user
  ///     that refuses connections. Anything else is left alone.
  /// - Returns: true on success. Otherwise ``serverError`` and ``errorString`` say why, and nothing is left open.
  @discardableResult
  public final func listen(
    path: String,
    permissions: UInt16? = nil,
    removingStale: Bool = true
  ) -> Bool {
    requireLoopThread("TCPServer.listen(path:permissions:removingStale:)")
    guard !isMember else {
      failAsMember()
      return false
    }
    guard proxyListener == nil else {
      fail(.operation, "listen() called when already listening")
      return false
    }
    forgetLastEnd()
    guard !path.utf8.contains(0) else {
      fail(.unsupportedSocketOperation, "The path of a socket has no NUL")
      return false
    }
    let permissions = permissions.map { CInt($0) } ?? -1
    return opening { unsafe csc_server_listen_path(core, path, permissions, !removingStale) }
  }

  /// The path that the server listens at, an abstract name with its `@`; nil when it does not listen at a path.
  public final var serverPath: String? {
    requireLoopThread("TCPServer.serverPath")
    if let group { return group.serverPath }
    return ownPath
  }

  /// For code that is on the loop already.
  final var ownPath: String? {
    unsafe csc_server_path(core).map { unsafe String(cString: $0) }
  }

  final var listensWithUnixSocket: Bool {
    unsafe csc_server_address(core).family == UInt8(CSC_FAMILY_UNIX.rawValue)
  }
}

extension TCPServerGroup {
  /// Listens at a path, as ``TCPServer/listen(path:permissions:removingStale:)`` does.
  ///
  /// One loop accepts: not for ``Distribution/sharedQueue`` and ``Distribution/shards``. With ``Distribution/byPeer``
  /// connections are placed as with ``Distribution/leastConnections``.
  ///
  /// - Throws: why it failed: ``SocketError/operation`` where the group listens already; nothing is left open.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func listen(
    path: String,
    permissions: UInt16? = nil,
    removingStale: Bool = true
  ) async throws(SocketError) {
    let members = try await prepare()
    let isPlacing = unsafe members.core != nil
    let listens = await members.acceptor.onLoop { acceptor in
      guard isPlacing else {
        acceptor.fail(.unsupportedSocketOperation, "At a path one loop accepts for all")
        return false
      }
      return acceptor.listen(path: path, permissions: permissions, removingStale: removingStale)
    }
    guard listens else { throw await fail(as: members.acceptor) }
    await notePlace(members)
  }

  /// The path that the server listens at; nil when it does not listen at one.
  public var serverPath: String? {
    isListening ? listening.withLock { $0.place.path } : nil
  }
}
