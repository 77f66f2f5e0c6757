internal import CServerCore

/// What a lack of descriptors or memory does to a server.
public enum OverloadPolicy: Hashable, Sendable {
  /// Accepting is tried again after 5 ms, doubling to 1 s, and no client is lost: they wait in the kernel's queue.
  case wait
  /// The same, but first the clients in the kernel's queue are turned away, a batch at most each time descriptors
  /// have run out: they learn at once that they will not be served.
  case shed
  /// Accepting pauses until ``TCPServer/resumeAccepting()``, as in Qt.
  case strict
}

/// Limits that keep a server from taking more than it can serve.
extension TCPServer {
  /// What a lack of descriptors or memory does from the next one on; ``OverloadPolicy/wait`` at first.
  ///
  /// With ``OverloadPolicy/shed`` a listening server holds one descriptor more, which it gives up for a moment to
  /// take a client and close the connection.
  public final var overloadPolicy: OverloadPolicy {
    get {
      switch unsafe csc_server_overload_policy(core) {
      case CSC_OVERLOAD_SHED: .shed
      case CSC_OVERLOAD_STRICT: .strict
      default: .wait
      }
    }
    set {
      let policy =
        switch newValue {
        case .wait: CSC_OVERLOAD_WAIT
        case .shed: CSC_OVERLOAD_SHED
        case .strict: CSC_OVERLOAD_STRICT
        }
      unsafe csc_server_set_overload_policy(core, policy)
    }
  }

  /// How many descriptors accepting leaves to the rest of the program; 32 at first, at most a quarter of the
  /// process's limit (`RLIMIT_NOFILE`). 0 leaves none.
  ///
  /// When no others are left, accepting pauses as on a lack of descriptors, with the same error. The limit is read
  /// when the server starts to listen and whenever descriptors seem to run out, so that a changed one is noticed.
  public final var descriptorReserve: Int {
    get { unsafe Int(csc_server_descriptor_reserve(core)) }
    set { unsafe csc_server_set_descriptor_reserve(core, CInt(clamping: newValue)) }
  }

  /// How many more descriptors the process may open before the reserve is touched.
  ///
  /// Counted when asked, which takes longer the more there are.
  public final var descriptorHeadroom: Int {
    unsafe Int(csc_server_descriptor_headroom(core))
  }
}
