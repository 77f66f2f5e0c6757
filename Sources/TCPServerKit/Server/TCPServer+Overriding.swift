internal import CServerCore

/// What an override of ``TCPServer/incomingConnection(_:)`` needs beside the descriptor.
extension TCPServer {
  /// The peer of the connection that ``incomingConnection(_:)`` is called for, while that runs; nil otherwise.
  ///
  /// It came with the connection: unlike what `getpeername(2)` gives, it is there also for a peer that has reset the
  /// connection already, and for one that came through a proxy it is the peer's own.
  public final var incomingPeer: (address: HostAddress, port: UInt16)? {
    inFlight.map { (HostAddress($0.peer), $0.peer.port) }
  }

  /// Tells that a connection has ended whose bare descriptor an override of ``incomingConnection(_:)`` has kept:
  /// once for each, after it was closed. Sockets tell by themselves.
  ///
  /// Without it the connection counts for ``maxConnections`` and ``Statistics/live`` for ever.
  public final func connectionEnded() {
    checkThread()
    home.server?.connectionEnded()
  }

  /// ``connectionEnded()`` for other threads: each call tells of one connection, as soon as the server's loop runs.
  ///
  /// An override of ``incomingConnection(_:)`` passes it on beside the descriptor, to whatever will close that. It does
  /// not keep the server, and does nothing once that has gone. For a server with a loop.
  public final var tellConnectionEnded: @Sendable () -> Void {
    checkThread()
    let elsewhere = elsewhere
    return { elsewhere.connectionEnded() }
  }
}
