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
    /// It came from none of the networks whose PROXY headers are taken (``TCPServer/proxyHeaderRequirement``).
    case untrustedProxy
    /// It sent no PROXY header, or a wrong one.
    case proxyHeader(ProxyHeader.FormatError)
    /// It ended in the middle of its PROXY header.
    case unfinishedProxyHeader
    /// Its PROXY header was not complete in time.
    case proxyHeaderTimeout
    /// ``TCPServer/maxPrefaces`` was reached.
    case maxPrefaces
    /// Its source has as many connections as it may have (``TCPServer/sourceLimits``).
    case sourceLimit
    /// Its source connects faster than it may.
    case sourceRate
  }

  /// The client's address; before its PROXY header was read, the proxy's.
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
      case CSC_REJECTED_AS_UNTRUSTED: .untrustedProxy
      case CSC_REJECTED_BY_HEADER:
        .proxyHeader(
          ProxyHeader.FormatError(
            code: UInt8(truncatingIfNeeded: core.proxy_error),
            offset: Int(core.proxy_error_offset)
          )
        )
      case CSC_REJECTED_BY_PEER: .unfinishedProxyHeader
      case CSC_REJECTED_BY_TIMEOUT: .proxyHeaderTimeout
      case CSC_REJECTED_BY_PREFACES: .maxPrefaces
      case CSC_REJECTED_BY_SOURCE_LIMIT: .sourceLimit
      case CSC_REJECTED_BY_SOURCE_RATE: .sourceRate
      default: .admission
      }
  }
}
