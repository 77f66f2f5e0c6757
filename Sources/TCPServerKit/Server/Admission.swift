// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What becomes of a client that has just connected; see ``TCPServer/admissionHandler``.
public enum Admission: Hashable, Sendable {
  /// Lets it in.
  case admit
  /// Closes the connection.
  case close
  /// Resets it, which leaves nothing of it in the kernel.
  case reset
}

/// What becomes of clients beyond ``TCPServer/maxConnections``.
public enum ExcessConnectionPolicy: Hashable, Sendable {
  /// They wait in the kernel's queue until a connection ends.
  case wait
  /// They are accepted and closed.
  case close
  /// They are accepted and reset.
  case reset
}

/// A client that was rejected.
public struct RejectedConnection: Hashable, Sendable {
  /// Why a client was rejected.
  public enum Reason: Hashable, Sendable {
    /// ``TCPServer/admissionHandler`` said so.
    case admission
    /// ``TCPServer/maxConnections`` was reached.
    case limit
    /// Descriptors had run out (``OverloadPolicy/shed``), or memory.
    case overload
  }

  /// The client's address.
  public var peerAddress: HostAddress
  /// The client's port.
  public var peerPort: UInt16
  /// The address that the client connected to.
  public var localAddress: HostAddress
  /// The port that the client connected to.
  public var localPort: UInt16
  /// Why it was rejected.
  public var reason: Reason

  /// Makes a value of your own, for tests.
  public init(
    peerAddress: HostAddress,
    peerPort: UInt16,
    localAddress: HostAddress,
    localPort: UInt16,
    reason: Reason
  ) {
    self.peerAddress = peerAddress
    self.peerPort = peerPort
    self.localAddress = localAddress
    self.localPort = localPort
    self.reason = reason
  }

  init(_ core: csc_rejection) {
    peerAddress = HostAddress(core.peer)
    peerPort = core.peer.port
    localAddress = HostAddress(core.local)
    localPort = core.local.port
    reason =
      switch core.reason {
      case CSC_REJECTED_BY_LIMIT: .limit
      case CSC_REJECTED_BY_OVERLOAD: .overload
      default: .admission
      }
  }
}
