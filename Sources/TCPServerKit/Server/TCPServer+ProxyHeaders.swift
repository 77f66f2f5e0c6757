// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// A server behind proxies that say whose connections they are. Not to be confused with ``TCPServer/proxy``, through which
/// a server listens.
extension TCPServer {
  /// Requires a PROXY header of each connection that is accepted from now on; nil, the default, requires none.
  ///
  /// A peer outside of the networks is rejected before a byte of it is read: any client could send such a header. There
  /// is no mode that takes connections with and without one.
  ///
  /// The client that the header names is ``TCPSocket/peerAddress`` and ``TCPSocket/peerPort``, and ``TCPSocket/proxied`` has
  /// the rest. Without a name, as of the proxy's own health checks, that is the proxy. ``admissionHandler`` is asked
  /// for the proxy, before anything is read, and then for the client.
  ///
  /// A connection whose header is wrong or late is rejected; ``connectionRejected`` and ``Statistics-swift.struct`` have
  /// the reason. One that its peer ends before its first byte, as health checks do, is only counted. While its header is
  /// read, a connection counts for ``maxConnections`` and not for ``maxPendingConnections``: it keeps no other from
  /// being accepted.
  ///
  /// Another requirement holds for the connections whose header is being read, too. Where memory is short it stays what
  /// it was, and ``serverError`` is ``SocketError/socketResource``. Of a ``TCPServerGroup`` the first server's holds for
  /// the whole group when it begins to listen; its headers are read on the accepting loop, so that the client
  /// decides which loop it gets, and ``admissionHandler`` of the loops' servers is called for clients alone.
  public final var proxyHeaderRequirement: ProxyHeaderRequirement? {
    get {
      requireLoopThread("TCPServer.proxyHeaderRequirement")
      return serverCore.proxyHeaderRequirement
    }
    set {
      requireLoopThread("TCPServer.proxyHeaderRequirement")
      let isSet =
        if let newValue {
          unsafe newValue.withCore { unsafe csc_server_require_proxy_header(core, $0) }
        } else {
          unsafe csc_server_require_proxy_header(core, nil)
        }
      if isSet { serverCore.proxyHeaderRequirement = newValue }
    }
  }

  /// How many connections may be there whose header is being read; 1,024 at first, less than 1 counts as 1. Beyond it one
  /// is closed: the oldest of those that have not sent a byte, or of those that have, whichever are more.
  public final var maxPrefaces: Int {
    get {
      requireLoopThread("TCPServer.maxPrefaces")
      return unsafe Int(csc_server_max_prefaces(core))
    }
    set {
      requireLoopThread("TCPServer.maxPrefaces")
      unsafe csc_server_set_max_prefaces(core, CInt(clamping: newValue))
    }
  }

  /// What a proxy has said of the connection that ``incomingConnection(_:)`` is called for, while that runs; nil
  /// otherwise.
  public final var incomingProxied: ProxiedConnection? {
    requireLoopThread("TCPServer.incomingProxied")
    return unsafe context.handover?.connection.proxied.map { ProxiedConnection($0) }
  }

  /// Whether connections may come although the server does not listen any more.
  final var hasPrefaces: Bool {
    unsafe csc_server_in_preface(core) > 0 || serverCore.undeliveredYet > 0
  }

  /// Closes what is in the preface at a time; the timer ends with its reference. Nil where nothing is to be closed.
  final func closesPrefaces(at deadline: ContinuousClock.Instant?) -> LoopTimer? {
    guard hasPrefaces, let deadline, let engine = eventBase?.engine else { return nil }
    return LoopTimer(engine, after: deadline - .now) { [weak self] in self?.closeHere() }
  }

  /// Calls `body` when no connection is in the preface; at once where that is so.
  final func whenPrefacesAreOver(_ body: @escaping () -> Void) {
    guard hasPrefaces else { return body() }
    let before = serverCore.onPrefacesOver
    serverCore.onPrefacesOver = {
      before?()
      body()
    }
  }
}
