// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What an override of ``TCPServer/incomingConnection(_:)`` needs beside the descriptor.
extension TCPServer {
  /// The peer of the connection that ``incomingConnection(_:)`` is called for, while that runs; nil otherwise.
  ///
  /// It came with the connection: unlike what `getpeername(2)` gives, it is there also for a peer that has reset the
  /// connection already, and for one that came through a proxy it is the peer's own.
  public final var incomingPeer: (address: HostAddress, port: UInt16)? {
    requireLoopThread("TCPServer.incomingPeer")
    return context.handover.map { (HostAddress($0.connection.peer), $0.connection.peer.port) }
  }

  /// Takes the permit of the connection that ``incomingConnection(_:)`` is called for: it counts for
  /// ``maxConnections`` and ``Statistics-swift.struct/live`` until the permit is released, on any thread.
  ///
  /// - Returns: nil outside of that call, when a socket or an earlier call has taken it, and for a server without an event
  ///   base.
  public final func takeIncomingPermit() -> ConnectionPermit? {
    requireLoopThread("TCPServer.takeIncomingPermit()")
    guard eventBase != nil, let handover = context.handover, handover.connection.descriptor >= 0,
      !handover.isPlaceTaken
    else { return nil }
    context.handover?.isPlaceTaken = true
    return ConnectionPermit(serverCore.remote, source: handover.connection.source)
  }
}
