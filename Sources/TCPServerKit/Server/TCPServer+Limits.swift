// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What a lack of descriptors or memory does to a server.
public enum OverloadPolicy: Hashable, Sendable {
  /// Accepting is tried again after 5 ms, doubling to 1 s, and no client is lost: they wait in the kernel's queue.
  case wait
  /// The same, but first the clients in the kernel's queue are rejected, a batch at most each time descriptors
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
      requireLoopThread("TCPServer.overloadPolicy")
      return switch unsafe csc_server_overload_policy(core) {
      case CSC_OVERLOAD_SHED: .shed
      case CSC_OVERLOAD_STRICT: .strict
      default: .wait
      }
    }
    set {
      requireLoopThread("TCPServer.overloadPolicy")
      let policy =
        switch newValue {
        case .wait: CSC_OVERLOAD_WAIT
        case .shed: CSC_OVERLOAD_SHED
        case .strict: CSC_OVERLOAD_STRICT
        }
      unsafe csc_server_set_overload_policy(core, policy)
    }
  }

  /// How many connections of this server may be there at once; nil, the default, for no limit.
  ///
  /// A connection counts from the accept until its ``TCPSocket`` closes it or gives it away, pending ones included.
  /// What becomes of clients beyond the limit is ``excessConnectionPolicy``' choice. Raising it resumes accepting. 0
  /// accepts no connection, as long as it is set, and less than 0 is 0. Set the limit before the connections are taken:
  /// where places are limited, a connection that its program does nothing with at all is watched for its end as well, so
  /// that its place comes back.
  public final var maxConnections: Int? {
    get {
      requireLoopThread("TCPServer.maxConnections")
      let count = unsafe csc_server_max_connections(core)
      return count < 0 ? nil : Int(count)
    }
    set {
      requireLoopThread("TCPServer.maxConnections")
      limitConnections(to: newValue, excessConnectionPolicy)
    }
  }

  /// What becomes of clients beyond ``maxConnections``; ``ExcessConnectionPolicy/wait`` at first.
  public final var excessConnectionPolicy: ExcessConnectionPolicy {
    get {
      requireLoopThread("TCPServer.excessConnectionPolicy")
      return switch unsafe csc_server_excess(core) {
      case CSC_EXCESS_CLOSE: .close
      case CSC_EXCESS_RESET: .reset
      default: .wait
      }
    }
    set {
      requireLoopThread("TCPServer.excessConnectionPolicy")
      limitConnections(to: maxConnections, newValue)
    }
  }

  private final func limitConnections(to count: Int?, _ excess: ExcessConnectionPolicy) {
    let excess =
      switch excess {
      case .wait: CSC_EXCESS_WAIT
      case .close: CSC_EXCESS_CLOSE
      case .reset: CSC_EXCESS_RESET
      }
    let limit = count.map { CInt(clamping: max($0, 0)) } ?? -1
    unsafe csc_server_set_max_connections(core, limit, excess)
    updateWatchesUnused()
    serverCore.budget?.setLimit(limit, excess)
    proxyListener?.roomChanged()
  }

  /// Where places are limited, or the program wants to know when a connection began.
  final func updateWatchesUnused() {
    let isLimited = unsafe csc_server_max_connections(core) >= 0 || serverCore.limiting.sourceLimits != nil
    context.watchesUnused = isLimited || context.recordsBeginnings
  }

  /// How many descriptors accepting leaves to the rest of the program; 32 at first, at most a quarter of the
  /// process's limit (`RLIMIT_NOFILE`). 0 leaves none.
  ///
  /// When no others are left, accepting pauses as on a lack of descriptors, with the same error. The limit is read
  /// when the server starts to listen and whenever descriptors seem to run out, so that a changed one is noticed.
  public final var descriptorReserve: Int {
    get {
      requireLoopThread("TCPServer.descriptorReserve")
      return unsafe Int(csc_server_descriptor_reserve(core))
    }
    set {
      requireLoopThread("TCPServer.descriptorReserve")
      unsafe csc_server_set_descriptor_reserve(core, CInt(clamping: newValue))
    }
  }

  /// How many more descriptors the process may open before the reserve is touched.
  ///
  /// Counted when asked, which takes longer the more there are.
  public final var descriptorHeadroom: Int {
    requireLoopThread("TCPServer.descriptorHeadroom")
    return unsafe Int(csc_server_descriptor_headroom(core))
  }

  // MARK: - Queues

  /// Qt's.
  static let firstMaxPending = 30

  /// How many connections may be pending; 30 at first.
  ///
  /// At the limit the server stops accepting and the kernel queues the clients, which see themselves
  /// connected. Taking a connection, or raising the limit, resumes. 0 or less accepts nothing.
  public final var maxPendingConnections: Int {
    get {
      requireLoopThread("TCPServer.maxPendingConnections")
      return unsafe Int(csc_server_max_pending(core))
    }
    set {
      requireLoopThread("TCPServer.maxPendingConnections")
      unsafe csc_server_set_max_pending(core, CInt(clamping: newValue))
      proxyListener?.roomChanged()
    }
  }

  /// How many connections one turn of the loop accepts at most; 64 at first.
  public final var acceptBatchSize: Int {
    get {
      requireLoopThread("TCPServer.acceptBatchSize")
      return unsafe Int(csc_server_accept_batch(core))
    }
    set {
      requireLoopThread("TCPServer.acceptBatchSize")
      unsafe csc_server_set_accept_batch(core, CInt(clamping: newValue))
    }
  }

  /// The length of the kernel's queue of completed connections, for the next ``listen(address:port:)``.
  ///
  /// `Int.max`, the default, is whatever the kernel allows (net.core.somaxconn). Qt's default is 50, and
  /// clients beyond a full queue wait seconds for an answer.
  public final var listenBacklogSize: Int {
    get {
      requireLoopThread("TCPServer.listenBacklogSize")
      let backlog = unsafe csc_server_backlog(core)
      return backlog == .max ? .max : Int(backlog)
    }
    set {
      requireLoopThread("TCPServer.listenBacklogSize")
      unsafe csc_server_set_backlog(core, CInt(clamping: newValue))
    }
  }

  /// How many descriptors the process expects to have open, for the next ``listen(address:port:)``; 65,536 at
  /// first, within the process's limit.
  ///
  /// Listening makes room for them once, at 8 bytes of kernel memory each: growing the table later would stall
  /// accepting for milliseconds in a process with threads. 0 leaves the table alone.
  public final var expectedDescriptors: Int {
    get {
      requireLoopThread("TCPServer.expectedDescriptors")
      return unsafe Int(csc_server_expected_descriptors(core))
    }
    set {
      requireLoopThread("TCPServer.expectedDescriptors")
      unsafe csc_server_set_expected_descriptors(core, CInt(clamping: newValue))
    }
  }

  /// Decides about each client before anything is made for it; nil, the default, admits all.
  ///
  /// Called with the client's address and port. It may call anything of the server, ``close()`` included, and
  /// release it.
  public final var admissionHandler: ((HostAddress, UInt16) -> Admission)? {
    get {
      requireLoopThread("TCPServer.admissionHandler")
      return serverCore.admissionHandler
    }
    set {
      requireLoopThread("TCPServer.admissionHandler")
      serverCore.admissionHandler = newValue
      serverCore.askForAdmission(newValue != nil)
    }
  }
}
