// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

extension TCPServer {
  /// Counters of a server since it was made.
  ///
  /// Exactly once: outside a handler, `accepted + added == delivered + pending + inPreface + endedInPreface +
  /// discardedOnClose + shed + rejectedByAdmission + rejectedByLimit + rejectedBySourceLimit + rejectedBySourceRate`.
  public struct Statistics: Hashable, Sendable {
    /// Connections that the kernel handed over.
    public var accepted: UInt64
    /// Sockets that ``TCPServer/addPendingConnection(_:)`` added.
    public var added: UInt64
    /// Connections taken: by ``TCPServer/nextPendingConnection()`` or an overridden
    /// ``TCPServer/incomingConnection(_:)``.
    public var delivered: UInt64
    /// Connections pending now.
    public var pending: UInt64
    /// Connections that were pending when the server was closed.
    public var discardedOnClose: UInt64
    /// Connections rejected for lack of descriptors or memory.
    public var shed: UInt64
    /// Connections rejected by ``TCPServer/admissionHandler``.
    public var rejectedByAdmission: UInt64
    /// Connections rejected beyond ``TCPServer/maxConnections``.
    public var rejectedByLimit: UInt64
    /// Connections rejected because their source had as many as ``SourceLimits/maxConnections``.
    public var rejectedBySourceLimit: UInt64
    /// Connections rejected because their source connected faster than ``SourceLimits/acceptsPerSecond``.
    public var rejectedBySourceRate: UInt64
    /// Connections that were let in although there was no place to count their source in.
    public var uncountedSources: UInt64
    /// How often accepting paused for ``TCPServer/acceptRate``.
    public var ratePauses: UInt64
    /// Connections of this server that are pending, or were taken and have not ended, now.
    public var live: UInt64
    /// Accept errors that concerned one peer only.
    public var peerErrors: UInt64
    /// Attempts to accept in vain for lack of descriptors or memory.
    public var resourceErrors: UInt64
    /// Accept errors by a security policy.
    public var permissionErrors: UInt64
    /// How often the listening socket was found broken.
    public var listenerErrors: UInt64
    /// How often ``TCPServer/acceptError`` was emitted for an error that pauses accepting.
    public var errorEpisodes: UInt64
    /// How often accepting paused for an error, a lack of resources, the limit of live connections or the rate; not
    /// because of ``TCPServer/maxPendingConnections`` or ``TCPServer/pauseAccepting()``.
    public var overloadPauses: UInt64
    /// How long it paused for those reasons, one that lasts included.
    public var overloadTime: Duration
    /// Connections that ended before their peer had acknowledged everything that was written: reset by the peer, aborted,
    /// by ``TCPServer/serve(maxConnections:shutdown:onError:handler:)`` after a write that had failed part-way among
    /// others, or given up after ``TCPServer/deliveryTimeout``.
    public var undelivered: UInt64
    /// Connections that ended by ``TCPServer/connectionPolicy`` because no byte of their peer came.
    public var firstByteTimeouts: UInt64
    /// Those that ended by it because nothing moved.
    public var idleTimeouts: UInt64
    /// Those that ended by it because their peer sent or took too little.
    public var tooSlow: UInt64
    /// Connections that reached the maximum age of the policy, and were left to end by themselves.
    public var reachedMaximumAge: UInt64
    /// Of those: reset when their grace was over.
    public var cutForAge: UInt64
    /// Completed connections in the kernel's queue now.
    public var acceptQueue: UInt64
    /// The length of the kernel's queue.
    public var acceptQueueLimit: UInt64
    /// Connections of a ``TCPServerGroup`` that are on their way to their loop now.
    public var inMailbox: UInt64
    /// Times that a ``TCPServerGroup`` took a connection from a loop that was busy and placed it on another.
    public var takenBack: UInt64
    /// Connections whose PROXY header is being read now; see ``TCPServer/proxyHeaderRequirement``.
    public var inPreface: UInt64
    /// Connections that were closed before their header was complete, for the reasons below.
    public var endedInPreface: UInt64
    /// Of those: from none of the networks whose headers are taken.
    public var prefaceUntrusted: UInt64
    /// Of those: without a header, or with a wrong one.
    public var prefaceInvalid: UInt64
    /// Of those: ended by their peer in the middle of it.
    public var prefaceCutShort: UInt64
    /// Of those: not complete in time.
    public var prefaceTimeouts: UInt64
    /// Of those: closed beyond ``TCPServer/maxPrefaces``.
    public var prefaceDropped: UInt64
    /// Of those: ended by their peer before its first byte, as health checks do.
    public var prefaceSilent: UInt64

    /// Of a server that has not counted yet.
    init() {
      self.init(csc_statistics(), undelivered: 0, PolicyEnds.Counts())
    }

    init(_ core: csc_statistics, undelivered: UInt64, _ ends: PolicyEnds.Counts) {
      self.undelivered = undelivered
      firstByteTimeouts = ends.firstByteTimeouts
      idleTimeouts = ends.idleTimeouts
      tooSlow = ends.tooSlow
      reachedMaximumAge = ends.reachedMaximumAge
      cutForAge = ends.cutForAge
      accepted = core.accepted
      added = core.added
      delivered = core.delivered
      pending = core.pending
      discardedOnClose = core.discarded_on_close
      shed = core.shed
      rejectedByAdmission = core.rejected_by_admission
      rejectedByLimit = core.rejected_by_limit
      rejectedBySourceLimit = core.rejected_by_source_limit
      rejectedBySourceRate = core.rejected_by_source_rate
      uncountedSources = core.uncounted_sources
      ratePauses = core.rate_pauses
      live = core.live
      peerErrors = core.peer_errors
      resourceErrors = core.resource_errors
      permissionErrors = core.permission_errors
      listenerErrors = core.listener_errors
      errorEpisodes = core.error_episodes
      overloadPauses = core.overload_pauses
      overloadTime = .milliseconds(core.overload_milliseconds)
      acceptQueue = core.accept_queue
      acceptQueueLimit = core.accept_queue_limit
      inMailbox = core.in_mailbox
      takenBack = core.taken_back
      inPreface = core.in_preface
      endedInPreface = core.ended_in_preface
      prefaceUntrusted = core.preface_untrusted
      prefaceInvalid = core.preface_invalid
      prefaceCutShort = core.preface_cut_short
      prefaceTimeouts = core.preface_timeouts
      prefaceDropped = core.preface_dropped
      prefaceSilent = core.preface_silent
    }
  }

  /// Counters since the server was made.
  public final var statistics: Statistics {
    requireLoopThread("TCPServer.statistics")
    var snapshot = csc_statistics()
    unsafe csc_server_statistics(core, &snapshot, MemoryLayout<csc_statistics>.size)
    return Statistics(snapshot, undelivered: serverCore.allUndelivered, policyEnds)
  }

  /// From any thread.
  final var policyEnds: PolicyEnds.Counts {
    var counts = PolicyEnds.Counts()
    serverCore.policyEnds.add(to: &counts)
    return counts
  }

  /// For code that is on the loop already.
  final var liveConnections: UInt64 {
    serverCore.live
  }
}

extension TCPServer {
  /// What other threads may read of the counters of a group's server.
  final var sharedStatistics: csc_statistics {
    var snapshot = csc_statistics()
    unsafe csc_server_shared_statistics(core, &snapshot, MemoryLayout<csc_statistics>.size)
    return snapshot
  }
}

extension csc_statistics {
  /// All are numbers that count, each of 64 bits.
  mutating func add(_ other: csc_statistics) {
    unsafe withUnsafeMutableBytes(of: &self) { sum in
      unsafe withUnsafeBytes(of: other) { other in
        let sum = unsafe sum.assumingMemoryBound(to: UInt64.self)
        let other = unsafe other.assumingMemoryBound(to: UInt64.self)
        for index in sum.indices { unsafe sum[index] += other[index] }
      }
    }
  }
}
