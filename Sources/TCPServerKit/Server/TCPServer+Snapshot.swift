// SPDX-License-Identifier: Apache-2.0

/// A look into a server that runs.
extension TCPServer {
  /// Looks what the server and its connections are at, on its loop.
  ///
  /// ```swift
  /// print(await server.snapshot())
  /// ```
  ///
  /// The loop goes on serving meanwhile: it looks at 64 connections at a time, and has turns in between. That takes it
  /// about 5 microseconds a connection, and as much memory as the connections that are listed. A server that is not
  /// asked pays nothing for it.
  ///
  /// - Parameters:
  ///   - count: how many connections to list at most, the oldest first as far as their age is known.
  ///   - patience: how long the loop may show no sign. A handler that blocks its thread keeps it from answering: then the
  ///     snapshot says that it is stuck.
  ///
  /// ## Cancellation
  ///
  /// Has no effect: it ends by itself.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. Without an event base it lists no connections, and is the server's thread's alone.
  public final func snapshot(listing count: Int = 1000, patience: Duration = .seconds(1)) async -> Snapshot {
    let waitingJobs = eventBase?.engine.waitingJobs ?? 0
    let found: LoopFindings?
    if let engine = eventBase?.engine {
      found = await findings(engine, at: .now, listing: count, patience: patience)
    } else {
      requireLoopThread("TCPServer.snapshot(listing:patience:)")
      found = LoopFindings(of: self, delay: .zero)
    }
    var snapshot = Snapshot(
      address: found?.address ?? .null,
      port: found?.port ?? 0,
      path: found?.path,
      statistics: found?.statistics,
      loops: [Snapshot.Loop(index: 0, accepts: true, waitingJobs: waitingJobs, statistics: nil, found)]
    )
    snapshot.keepOldest(max(count, 0))
    return snapshot
  }

  /// Whether the connections that are accepted from now on note when they began, for ``snapshot(listing:patience:)``.
  ///
  /// False at first: a connection has no room for it, and the kernel knows only for how long a connection has been silent.
  /// Where it is true a connection takes more memory, and its loop watches it from the beginning, so that none is
  /// ``Snapshot/Loop/unseenConnections`` only because its program has not used it yet.
  public final var recordsConnectionAges: Bool {
    get {
      requireLoopThread("TCPServer.recordsConnectionAges")
      return context.recordsBeginnings
    }
    set {
      requireLoopThread("TCPServer.recordsConnectionAges")
      context.recordsBeginnings = newValue
      if newValue { context.loop?.recordsBeginnings = true }
      updateWatchesUnused()
    }
  }

  /// Asks the server's loop; nil when that is stuck.
  ///
  /// - Parameter acceptor: the server on the same loop that accepts for its group.
  fileprivate final func findings(
    _ engine: EventEngine,
    _ acceptor: TCPServer? = nil,
    at now: ContinuousClock.Instant,
    listing count: Int,
    patience: Duration
  ) async -> LoopFindings? {
    await LoopAnswer.ask(engine, patience: patience) { answer, delay in
      var found = LoopFindings(of: self, delay: delay)
      if let acceptor { found.add(acceptor) }
      await found.add(self.countedSockets, at: now, atMost: max(count, 0), answer)
      return found
    }
  }

  /// Those that the loop watches, of the connections of this server.
  private final var countedSockets: [TCPSocket] {
    guard let engine = eventBase?.engine else { return [] }
    var seen: Set<ObjectIdentifier> = []
    return unsafe TCPSocket.watched(on: engine.base).filter {
      $0.context.server === serverCore && seen.insert(ObjectIdentifier($0)).inserted
    }
  }
}

extension TCPServerGroup {
  /// Does for the whole group what ``TCPServer/snapshot(listing:patience:)`` does for one server.
  ///
  /// All loops are asked at once, and none waits for another: one that is stuck is named so after `patience`, however
  /// many there are. Its counters are there all the same, but for the kernel's queue.
  ///
  /// - Parameters:
  ///   - count: how many connections to list at most, of all loops together.
  ///   - patience: how long a loop may show no sign.
  ///
  /// ## Cancellation
  ///
  /// Has no effect: it ends by itself.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func snapshot(listing count: Int = 1000, patience: Duration = .seconds(1)) async
    -> TCPServer.Snapshot
  {
    var snapshot = TCPServer.Snapshot(address: .null, port: 0, path: nil, statistics: statistics, loops: [])
    guard let members else { return snapshot }
    let bases = eventBases
    let accepting = bases.acceptingEventBase
    let acceptsOnEach = unsafe members.core == nil
    var servers = members.servers
    // The loop that only accepts has the acceptor alone.
    if !bases.eventBases.contains(where: { $0 === accepting }) { servers.append(members.acceptor) }
    let now = ContinuousClock.now
    let waitingJobs = servers.map { $0.eventBase?.engine.waitingJobs ?? 0 }
    let found = await withTaskGroup(of: (Int, LoopFindings?).self) { group in
      for (index, server) in servers.enumerated() {
        guard let base = server.eventBase else { continue }
        let acceptor = base === accepting ? members.acceptor : nil
        group.addTask {
          (index, await server.findings(base.engine, acceptor, at: now, listing: count, patience: patience))
        }
      }
      return await group.reduce(into: [Int: LoopFindings]()) { $0[$1.0] = $1.1 }
    }
    let byLoop = statisticsByLoop
    let loops = servers.indices.map { index in
      TCPServer.Snapshot.Loop(
        index: index,
        accepts: acceptsOnEach ? index < byLoop.count : servers[index].eventBase === accepting,
        waitingJobs: waitingJobs[index],
        statistics: index < byLoop.count ? byLoop[index] : nil,
        found[index]
      )
    }
    snapshot = TCPServer.Snapshot(
      address: serverAddress,
      port: serverPort,
      path: serverPath,
      statistics: statistics,
      loops: loops
    )
    snapshot.addQueues()
    snapshot.keepOldest(max(count, 0))
    return snapshot
  }
}

/// What a loop has found of its server.
private struct LoopFindings: Sendable {
  let delay: Duration
  let address: HostAddress
  let port: UInt16
  let path: String?
  private(set) var statistics: TCPServer.Statistics
  private(set) var errorString: String
  private(set) var connections: [TCPSocket.Snapshot] = []
  private(set) var omitted = 0
  private(set) var unseen: Int

  init(of server: TCPServer, delay: Duration) {
    self.delay = delay
    address = server.serverAddress
    port = server.serverPort
    path = server.serverPath
    statistics = server.statistics
    errorString = server.errorString
    unseen = Int(clamping: statistics.live) - Int(clamping: statistics.pending)
  }

  /// What concerns the listening socket is the acceptor's.
  mutating func add(_ acceptor: TCPServer) {
    let now = acceptor.statistics
    (statistics.acceptQueue, statistics.acceptQueueLimit) = (now.acceptQueue, now.acceptQueueLimit)
    if !acceptor.errorString.isEmpty { errorString = acceptor.errorString }
  }

  /// How many connections are looked at in one turn.
  private static let batch = 64

  /// Looks at the connections, and keeps the oldest; the loop has turns in between.
  mutating func add<Value>(
    _ sockets: [TCPSocket],
    at now: ContinuousClock.Instant,
    atMost count: Int,
    _ answer: LoopAnswer<Value>
  ) async {
    unseen = max(unseen - sockets.count { $0.flags.contains(.counted) }, 0)
    var left = sockets
    while !left.isEmpty, answer.isWanted() {
      for socket in left.suffix(Self.batch) where socket.descriptor >= 0 {
        connections.append(socket.snapshot(at: now))
      }
      left.removeLast(min(left.count, Self.batch))
      if left.isEmpty || connections.count >= count + Self.batch { keepOldest(count) }
      if !left.isEmpty { await Task.yield() }
    }
  }

  private mutating func keepOldest(_ count: Int) {
    connections.sort { $0.leastAge > $1.leastAge }
    omitted += max(connections.count - count, 0)
    connections.removeLast(max(connections.count - count, 0))
  }
}

extension TCPServer.Snapshot.Loop {
  fileprivate init(
    index: Int,
    accepts: Bool,
    waitingJobs: Int,
    statistics: TCPServer.Statistics?,
    _ found: LoopFindings?
  ) {
    self.index = index
    self.accepts = accepts
    self.waitingJobs = waitingJobs
    self.statistics = statistics ?? found?.statistics
    if let queue = found?.statistics {
      self.statistics?.acceptQueue = queue.acceptQueue
      self.statistics?.acceptQueueLimit = queue.acceptQueueLimit
    }
    delay = found?.delay
    errorString = found?.errorString ?? ""
    connections = found?.connections ?? []
    omittedConnections = found?.omitted ?? 0
    unseenConnections = found?.unseen ?? 0
  }
}
