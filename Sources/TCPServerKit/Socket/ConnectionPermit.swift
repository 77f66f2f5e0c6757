internal import Synchronization

/// A connection's place among those that a server counts, for ``TCPServer/maxConnections`` and
/// ``TCPServer/Statistics-swift.struct/live``.
///
/// A ``TCPSocket`` has its own. For a connection that leaves the library, ``TCPSocket/takePermit()``,
/// ``IncomingConnection/takePermit()`` and ``TCPServer/takeIncomingPermit()`` give it out: keep it as long as the
/// connection lives. Any thread may release it. It does not keep the server.
public final class ConnectionPermit: Sendable {
  private let server: RemoteServerHandle
  private let isReleased = Atomic(false)

  init(_ server: RemoteServerHandle) {
    self.server = server
  }

  deinit {
    release()
  }

  /// Ends the connection's place: its server may accept another. Only the first call has an effect; releasing the last
  /// reference is one.
  public func release() {
    if !isReleased.exchange(true, ordering: .relaxed) {
      server.connectionEnded()
    }
  }
}

/// Being counted by a server, from the accept until the descriptor is closed or given away.
extension TCPSocket {
  /// The server of `context` counts this socket from now on.
  func acquirePermit(of context: SocketContext) {
    // The socket's own confinement stays the one that its context keeps.
    self.context =
      context.confinement === confinement
      ? context : SocketContext(in: self.context, server: context.server, confinement: confinement)
    flags.insert(.counted)
  }

  /// No server counts it any more.
  func releasePermit() {
    guard flags.contains(.counted) else { return }
    flags.remove(.counted)
    context.connectionEnded()
  }

  func closeDescriptor() {
    SystemCalls.closeDescriptor(descriptor)
    descriptor = -1
    releasePermit()
    if let loop = context.loop, loop.hasOverloadedServers {
      loop.descriptorFreed()
    }
  }
}
