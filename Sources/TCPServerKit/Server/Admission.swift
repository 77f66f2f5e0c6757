internal import CServerCore

/// What becomes of a client that has just connected; see ``TCPServer/admission``.
public enum Admission: Hashable, Sendable {
  /// Lets it in.
  case admit
  /// Closes the connection.
  case refuse
  /// Resets it, which leaves nothing of it in the kernel.
  case reset
}

/// What becomes of clients beyond ``TCPServer/maxConnections``.
public enum ExcessConnections: Hashable, Sendable {
  /// They wait in the kernel's queue until a connection ends.
  case wait
  /// They are accepted and closed.
  case close
  /// They are accepted and reset.
  case reset
}

/// A client that was turned away.
public struct RejectedConnection: Hashable, Sendable {
  /// Why a client was turned away.
  public enum Reason: Hashable, Sendable {
    /// ``TCPServer/admission`` said so.
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
  /// Why it was turned away.
  public var reason: Reason

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

// MARK: - Callbacks of the core

func onAdmission(
  _: OpaquePointer,
  peer: UnsafePointer<csc_address>,
  context: UnsafeMutableRawPointer?
) -> csc_admission {
  // Held by the call: the handler may set another, or release the server.
  guard let server = unsafe TCPServer.of(context), let ask = server.admission else { return CSC_ADMIT }
  let peer = unsafe peer.pointee
  return switch server.inCallback({ ask(HostAddress(peer), peer.port) }) {
  case .admit: CSC_ADMIT
  case .refuse: CSC_REFUSE
  case .reset: CSC_RESET
  }
}

func onRejected(
  _: OpaquePointer,
  rejection: UnsafePointer<csc_rejection>,
  context: UnsafeMutableRawPointer?
) {
  guard let server = unsafe TCPServer.of(context) else { return }
  server.inCallback { unsafe server.connectionRejected.notify(RejectedConnection(rejection.pointee)) }
}
