// SPDX-License-Identifier: Apache-2.0

/// A server, or a group of them, as a ``ServerMonitor`` sees it.
///
/// Every member may be used on any thread.
public final class MonitoredServer: Sendable {
  /// The address that the server listens on; ``HostAddress/null`` where it did not listen when its monitors began.
  public var serverAddress: HostAddress {
    place.withLock { $0.host }
  }

  /// The port that the server listens on; 0 where it did not listen when its monitors began.
  public var serverPort: UInt16 {
    place.withLock { $0.port }
  }

  /// The path that the server listens at, in the place of both; nil where it listened at none when its monitors began.
  public var serverPath: String? {
    path.withLock { $0 }
  }

  /// What ends the server in order; nil where it was given none.
  public let shutdown: GracefulShutdown?

  /// What has become of the server; nil while it serves.
  public var result: Result<ServingReport, any Error>? {
    outcome.withLock { $0 }
  }

  private let group: TCPServerGroup?
  /// Those that accept; their kernels' queues are the server's.
  let listening: [TCPServer]
  /// All that connections are counted on, the one that accepts included.
  let servers: [TCPServer]
  private let loops: [(name: String, meter: LoopMeter, server: TCPServer)]
  private let durations: [ConnectionDurations]
  private let place = Locked(SocketAddress(host: .null, port: 0))
  private let path = Locked<String?>(nil)
  private let outcome = Locked<Result<ServingReport, any Error>?>(nil)
  /// What the counters, which are as old as the server, were when it was monitored last; nil the first time.
  package var statisticsBefore: TCPServer.Statistics? { before.withLock { $0 } }
  private let before = Locked<TCPServer.Statistics?>(nil)
  /// What the loops of `listening` answered last.
  private let answers: Locked<[TCPServer.Statistics?]>

  init(_ group: TCPServerGroup, _ members: TCPServerGroup.Members, _ shutdown: GracefulShutdown?) {
    self.group = group
    self.shutdown = shutdown
    let acceptsForAll = unsafe members.core != nil
    // The queue of one socket is the same on every loop.
    let accepting = group.isQueueShared ? Array(members.servers.prefix(1)) : members.servers
    listening = acceptsForAll ? [members.acceptor] : accepting
    servers = members.servers + (acceptsForAll ? [members.acceptor] : [])
    var loops = members.servers.enumerated().map { Self.loop(of: $1, name: "\($0)") }
    let hasOwnThread = !members.servers.contains { $0.eventBase === members.acceptor.eventBase }
    if acceptsForAll && hasOwnThread { loops.append(Self.loop(of: members.acceptor, name: "accepting")) }
    self.loops = loops.compactMap(\.self)
    durations = members.servers.map { _ in ConnectionDurations() }
    answers = Locked(listening.map { _ in nil })
  }

  init?(_ server: TCPServer, _ shutdown: GracefulShutdown?) {
    guard let loop = Self.loop(of: server, name: "0") else { return nil }
    group = nil
    self.shutdown = shutdown
    listening = [server]
    servers = [server]
    loops = [loop]
    durations = [ConnectionDurations()]
    answers = Locked([nil])
  }

  private static func loop(
    of server: TCPServer,
    name: String
  ) -> (name: String, meter: LoopMeter, server: TCPServer)? {
    server.eventBase.map { (name, LoopMeter($0.engine), server) }
  }

  // MARK: - Running

  func run(
    _ monitors: [any ServerMonitor],
    _ body: () async throws -> ServingReport
  ) async throws -> ServingReport {
    guard !monitors.isEmpty else { return try await body() }
    await begin()
    // Tasks of their own, which end after the body, also where the caller is cancelled, and in the pool.
    let tasks = monitors.map { monitor in
      Task { @concurrent in await monitor.monitor(self) }
    }
    let result: Result<ServingReport, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    outcome.withLock { $0 = result }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
    await end()
    return try result.get()
  }

  private func begin() async {
    if let first = listening.first {
      let found = await first.onLoop { $0.serverCore.monitoredStatistics }
      before.withLock { $0 = found }
    }
    for (server, durations) in zip(servers, durations) {
      await server.onLoop { $0.beginTiming(durations) }
    }
    for loop in loops {
      await loop.server.onLoop { _ in loop.meter.start() }
    }
    if let group {
      place.withLock { $0 = SocketAddress(host: group.serverAddress, port: group.serverPort) }
      path.withLock { $0 = group.serverPath }
    } else if let server = servers.first {
      let (host, file) = await server.onLoop {
        (SocketAddress(host: $0.serverAddress, port: $0.serverPort), $0.serverPath)
      }
      place.withLock { $0 = host }
      path.withLock { $0 = file }
    }
  }

  private func end() async {
    let last = await statistics()
    await listening.first?.onLoop { $0.serverCore.monitoredStatistics = last }
    for (server, durations) in zip(servers, durations) {
      await server.onLoop { $0.endTiming(durations) }
    }
    for loop in loops {
      await loop.server.onLoop { _ in loop.meter.stop() }
    }
  }

  // MARK: - Measuring

  /// The counters of the server, of all its loops together, and the kernel's queue.
  ///
  /// Of a single server whose loop does not answer within a second, those of its last answer.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func statistics() async -> TCPServer.Statistics {
    await askListening()
    let answers = answers.withLock { $0 }
    var sum = group?.statistics ?? answers.first.flatMap(\.self) ?? TCPServer.Statistics()
    sum.acceptQueue = answers.reduce(0) { $0 + ($1?.acceptQueue ?? 0) }
    sum.acceptQueueLimit = answers.reduce(0) { $0 + ($1?.acceptQueueLimit ?? 0) }
    // Only the statistics of its own loop count a pause that goes on.
    sum.overloadTime = max(sum.overloadTime, answers.reduce(.zero) { $0 + ($1?.overloadTime ?? .zero) })
    return sum
  }

  /// How long a loop has to answer.
  private static let patience: Duration = .seconds(1)

  private func askListening() async {
    let latch = Latch()
    let open = Locked(listening.count)
    for (index, server) in listening.enumerated() {
      server.soon { [self] server in
        let now = server.statistics
        answers.withLock { $0[index] = now }
        let isLast = open.withLock { left in
          left -= 1
          return left == 0
        }
        if isLast { latch.open() }
      }
    }
    let alarm = Task.detached {
      if (try? await Task.sleep(for: Self.patience, clock: .continuous)) != nil { latch.open() }
    }
    await latch.wait()
    alarm.cancel()
  }

  /// How long the connections lasted that have ended since the monitors began.
  package var connectionDurations: ConnectionDurations.Counts {
    var counts = ConnectionDurations.Counts()
    for durations in durations { durations.add(to: &counts) }
    return counts
  }

  /// What the meter of each loop has found, by the loop's name: its place in ``EventBaseGroup/eventBases``, or
  /// `accepting` for one beside them.
  package var loopReadings: [(name: String, reading: LoopMeter.Reading)] {
    loops.map { ($0.name, $0.meter.reading) }
  }

  /// How many descriptors the process may still open; nil where that cannot be read.
  package static var descriptorHeadroom: Int? {
    ProcessLimits.descriptorHeadroom
  }
}

extension TCPServer {
  /// The connections that are delivered from now on have their durations counted.
  final func beginTiming(_ durations: ConnectionDurations) {
    context.durations = durations
  }

  final func endTiming(_ durations: ConnectionDurations) {
    if context.durations === durations { context.durations = nil }
  }
}
