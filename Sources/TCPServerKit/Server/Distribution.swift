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

  var core: csc_distribution {
    switch self {
    case .leastConnections: CSC_LEAST_CONNECTIONS
    case .roundRobin: CSC_ROUND_ROBIN
    case .byPeer: CSC_BY_PEER
    case .custom: CSC_CUSTOM
    }
  }
}
