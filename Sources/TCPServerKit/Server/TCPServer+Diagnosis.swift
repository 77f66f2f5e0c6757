// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What limits a server here and now.
extension TCPServer {
  /// Reads the limits of this server, of its process and of the system, and says which of them comes first.
  ///
  /// ```swift
  /// print(server.diagnose())
  /// ```
  ///
  /// Best called when the server listens, and its settings are made; it may be called at any time. It reads about ten
  /// small files of the kernel's and counts the descriptors of the process, which keeps the loop for less than a
  /// millisecond, and up to a millisecond more for each thousand descriptors. What cannot be read is `unknown` in
  /// the text.
  public final func diagnose() -> Diagnosis {
    requireLoopThread("TCPServer.diagnose()")
    return diagnose(ProcessLimits())
  }

  /// For code that is on the loop already.
  ///
  /// - Parameter group: of which this server is the one that accepts.
  final func diagnose(_ limits: ProcessLimits, for group: TCPServerGroup? = nil) -> Diagnosis {
    let now = statistics
    let pending = group.map { $0.statistics.pending + $0.statistics.inMailbox } ?? now.pending
    let hasShards = if case .shards = group?.distribution { true } else { false }
    let server = Diagnostician.Server(
      maxConnections: maxConnections,
      excess: excessConnectionPolicy,
      overload: overloadPolicy,
      live: Int(clamping: now.live),
      maxPending: maxPendingConnections,
      pending: Int(clamping: pending),
      reserve: descriptorReserve,
      backlog: listenBacklogSize,
      acceptQueue: unsafe csc_server_descriptor(core) >= 0
        ? (Int(clamping: now.acceptQueue), Int(clamping: now.acceptQueueLimit)) : nil,
      prefaces: proxyHeaderRequirement.map {
        ($0.networks, Int(clamping: now.inPreface), maxPrefaces)
      },
      sources: sourceLimits.map { ($0, serverCore.limiting.sources?.sourcesInUse ?? 0) },
      acceptRate: acceptRate,
      isUnix: listensWithUnixSocket,
      loops: group?.eventBases.eventBases.count ?? 1,
      hasShards: hasShards
    )
    return Diagnostician(server: server, limits: limits).diagnosis
  }
}

extension TCPServerGroup {
  /// Does for the whole group what ``TCPServer/diagnose()`` does for one server.
  ///
  /// Its limits are those of the server that accepts, those of single loops are left out; pending are the connections
  /// of all loops, those on their way included, and the limit is for each loop. It holds up the accepting loop as
  /// long as that takes.
  ///
  /// - Throws: ``SocketError/socketResource`` when descriptors or memory are short; ``SocketError/operation`` while the
  ///   group begins to listen.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func diagnose() async throws(SocketError) -> TCPServer.Diagnosis {
    try await withAcceptor { $0.diagnose(ProcessLimits(), for: self) }
  }
}
