// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Limits for one source, and the rate of accepting.
extension TCPServer {
  /// What one source of clients may take of this server; nil, the default, for no such limits.
  ///
  /// A client beyond them is rejected before anything is made of it, and is a ``RejectedConnection`` with the reason
  /// ``RejectedConnection/Reason/sourceLimit`` or ``RejectedConnection/Reason/sourceRate``. A connection counts for its
  /// source as long as it does for ``maxConnections``. Peers of UNIX sockets have no source. Where a PROXY header is
  /// required (``proxyHeaderRequirement``), the source is that of the client which the header names.
  ///
  /// Sources are counted in a table of fixed size, which clients cannot fill on purpose in one place: its key is random.
  /// A source for which there is no place is let in, and ``Statistics-swift.struct/uncountedSources`` counts that.
  ///
  /// The numbers may be changed at any time; the prefixes and the size of the table while no connection counts there:
  /// otherwise, and where memory is short, they stay what they were, and ``serverError`` says why. Connections that
  /// were there before the first limits do not count. Of a ``TCPServerGroup`` the first server's are those of all loops
  /// together.
  public final var sourceLimits: SourceLimits? {
    get {
      requireLoopThread("TCPServer.sourceLimits")
      return serverCore.limiting.sourceLimits
    }
    set {
      requireLoopThread("TCPServer.sourceLimits")
      guard mayLimit, newValue.map(limitSources) ?? endSourceLimits() else { return }
      serverCore.limiting.sourceLimits = newValue
      updateWatchesUnused()
      serverCore.limiting.share?(serverCore.limiting)
    }
  }

  /// How many connections this server accepts in a second; nil, the default, for as many as come.
  ///
  /// Beyond it accepting pauses for as long as it takes until it may accept again, and clients wait in the kernel's queue.
  /// ``finish()`` accepts what is there all the same. May be changed at any time; where memory is short it stays what it
  /// was, and ``serverError`` is ``SocketError/socketResource``. Of a ``TCPServerGroup`` the first server's is that of
  /// all loops together.
  public final var acceptRate: AcceptRate? {
    get {
      requireLoopThread("TCPServer.acceptRate")
      return serverCore.limiting.acceptRate
    }
    set {
      requireLoopThread("TCPServer.acceptRate")
      guard mayLimit, pace(newValue) else { return }
      serverCore.limiting.acceptRate = newValue
      serverCore.limiting.share?(serverCore.limiting)
    }
  }

  private final var mayLimit: Bool {
    if isMember { fail(.operation, "The limit of a group is that of the server that accepts") }
    return !isMember
  }

  private final func limitSources(_ limits: SourceLimits) -> Bool {
    if let sources = serverCore.limiting.sources {
      if sources.change(to: limits) { return true }
      // Some loops would go on with the table that they have, and count for themselves.
      if serverCore.limiting.share != nil, serverCore.budget?.isInUse ?? false {
        fail(.operation, "The connections of the server count in another table of sources")
        return false
      }
    }
    guard let sources = SharedSources(limits) else {
      fail(Failure(CSC_CALL_WATCH, errno: ENOMEM))
      return false
    }
    return attach(sources)
  }

  private final func attach(_ sources: SharedSources) -> Bool {
    guard unsafe csc_server_set_sources(core, sources.pointer) else {
      return false
    }
    serverCore.limiting.sources = sources
    return true
  }

  /// What counts in the table still does, where there is something.
  private final func endSourceLimits() -> Bool {
    let sources = serverCore.limiting.sources
    sources?.limitNothing()
    if serverCore.limiting.share == nil, serverCore.live == 0, unsafe csc_server_set_sources(core, nil) {
      serverCore.limiting.sources = nil
    }
    return true
  }

  private final func pace(_ newRate: AcceptRate?) -> Bool {
    if let rate = serverCore.limiting.rate {
      rate.change(to: newRate)
      // A pause goes by the new rate at once.
      return unsafe csc_server_set_accept_rate(core, rate.pointer)
    }
    guard let newRate else { return true }
    guard let rate = SharedRate(newRate), unsafe csc_server_set_accept_rate(core, rate.pointer) else {
      fail(Failure(CSC_CALL_WATCH, errno: ENOMEM))
      return false
    }
    serverCore.limiting.rate = rate
    return true
  }

  // MARK: - Of a group

  /// Its own settings become those of the group; its core has none.
  final func leaveLimitsToGroup() {
    serverCore.limiting.sources = nil
    serverCore.limiting.rate = nil
    _ = unsafe csc_server_set_sources(core, nil)
    _ = unsafe csc_server_set_accept_rate(core, nil)
  }

  /// Has the table and the rate of the group, where each loop accepts for itself.
  final func share(_ limiting: Limiting) {
    if let sources = limiting.sources, serverCore.limiting.sources !== sources { _ = attach(sources) }
    if let rate = limiting.rate, unsafe csc_server_set_accept_rate(core, rate.pointer) {
      serverCore.limiting.rate = rate
    }
  }

  /// What limits a server by source and by time.
  struct Limiting: Sendable {
    var sourceLimits: SourceLimits?
    /// Stays where the limits are taken away, as long as connections count there.
    var sources: SharedSources?
    var acceptRate: AcceptRate?
    var rate: SharedRate?
    /// Of the server that has the limits of a group, each of whose loops accepts for itself.
    var share: (@Sendable (Limiting) -> Void)?
  }
}
