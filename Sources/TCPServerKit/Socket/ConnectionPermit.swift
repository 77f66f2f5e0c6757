// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// A connection's place among those that a server counts, for ``TCPServer/maxConnections`` and
/// ``TCPServer/Statistics-swift.struct/live``.
///
/// A ``TCPSocket`` has its own. For a connection that leaves the library, ``TCPSocket/takePermit()``,
/// ``IncomingConnection/takePermit()`` and ``TCPServer/takeIncomingPermit()`` give it out: keep it as long as the
/// connection lives. Any thread may release it. It does not keep the server.
public final class ConnectionPermit: Sendable {
  private let server: RemoteServerHandle
  /// Its place among those of its source.
  private let source: UInt32
  private let isReleased = Atomic(false)

  init(_ server: RemoteServerHandle, source: UInt32) {
    self.server = server
    self.source = source
  }

  deinit {
    release()
  }

  /// Ends the connection's place: its server may accept another. Only the first call has an effect; releasing the last
  /// reference is one.
  public func release() {
    if !isReleased.exchange(true, ordering: .relaxed) {
      server.connectionEnded(from: source)
    }
  }
}
