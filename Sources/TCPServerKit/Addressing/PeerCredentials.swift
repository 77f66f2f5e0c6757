// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Which process connected to a UNIX socket, as the kernel noted it then.
public struct PeerCredentials: Hashable, Sendable {
  /// The process; 0 for one outside of this PID namespace. It may have ended since, and the number may be another's.
  public let processID: Int32
  /// Its effective user.
  public let userID: UInt32
  /// Its effective group.
  public let groupID: UInt32

  init?(of descriptor: CInt) {
    var credentials = csc_credentials()
    guard unsafe csc_peer_credentials(descriptor, &credentials) else { return nil }
    processID = credentials.pid
    userID = credentials.uid
    groupID = credentials.gid
  }
}
