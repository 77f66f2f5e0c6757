// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Which loop of a ``TCPServerGroup`` gets a connection.
public enum Distribution: Sendable {
  /// The one with the fewest connections; of several, the loop that accepts, then the next in turn.
  case leastConnections
  /// One after the other.
  case roundRobin
  /// Always the same for one address of a peer, whatever its port: what is kept of a client stays on one loop.
  case byPeer
  /// The one whose index in ``EventBaseGroup/eventBases`` is returned, for the client's address and port; any other number
  /// leaves the choice to ``leastConnections``. Called on the loop that accepts.
  case custom(@Sendable (HostAddress, UInt16) -> Int)
  /// That of the loop that is idle first: each accepts for itself, one client in each of its turns, from a duplicate of one
  /// listening socket. No connection is handed to another thread.
  case sharedQueue
  /// That which the kernel chooses, by a hash of both addresses and ports: each loop has a listening socket of its own, with
  /// `SO_REUSEPORT`, and accepts for itself. A client waits for its loop, however long that is busy.
  ///
  /// For rates of new connections that one loop cannot accept. Where another process of the same user listens on the port,
  /// or joins while the group begins to, listening fails with ``SocketError/addressInUse``; one that joins later gets a part
  /// of the clients. When the group ends, its sockets close one after the other, and clients whose handshake with one is not
  /// complete are reset, unless the administrator has set `net.ipv4.tcp_migrate_req`.
  case shards

  /// Nil where each loop accepts for itself.
  var core: csc_distribution? {
    switch self {
    case .leastConnections: CSC_LEAST_CONNECTIONS
    case .roundRobin: CSC_ROUND_ROBIN
    case .byPeer: CSC_BY_PEER
    case .custom: CSC_CUSTOM
    case .sharedQueue, .shards: nil
    }
  }
}
