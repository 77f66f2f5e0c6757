// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// One server whose connections live on several event loops: one address, one limit, one shutdown, one report.
///
/// ```swift
/// try EventBaseGroup.run { group in
///   let server = TCPServerGroup(on: group)
///   try await server.listen(port: 4242)
///   try await server.serve { socket in
///     while let line = try await socket.readLine() { try await socket.write(line) }
///   }
/// }
/// ```
///
/// One loop accepts, ``EventBaseGroup/acceptingEventBase``, and places each connection on one of
/// ``EventBaseGroup/eventBases``, where a ``TCPServer`` of that loop receives it as if it had accepted it. A connection
/// stays on its loop. One that its loop has not fetched within the stall limit, because a handler blocks the loop's thread
/// for instance, is taken back and placed on another loop; the loop that left it gets no more until it goes on.
/// ``Distribution/byPeer`` and ``Distribution/custom(_:)`` leave it where it belongs. With ``Distribution/sharedQueue`` and
/// ``Distribution/shards`` each loop accepts for itself instead; <doc:ServingOnAllCores> says when.
///
/// ## The servers of the loops
///
/// They are made on their loops when the group listens for the first time, and each is given to `configure`: for handlers
/// of signals, an ``TCPServer/admissionHandler`` or limits. What concerns the listening socket, and what limits the whole
/// server, is taken from the first of them: ``TCPServer/maxConnections``, ``TCPServer/excessConnectionPolicy``,
/// ``TCPServer/maxPendingConnections`` (on their way to each loop; 64 while it is 30), ``TCPServer/listenBacklogSize``,
/// ``TCPServer/setSocketOption(_:_:)``, ``TCPServer/socketPreparation``, ``TCPServer/overloadPolicy``,
/// ``TCPServer/descriptorReserve``, ``TCPServer/expectedDescriptors``, ``TCPServer/sourceLimits``,
/// ``TCPServer/acceptRate`` and ``TCPServer/proxy``. Where they are changed
/// later is ``withAcceptor(_:)``.
///
/// They do not listen themselves: ``TCPServer/close()`` and ``TCPServer/finish()`` of one are the group's, and so are
/// ``TCPServer/isListening``, ``TCPServer/serverAddress`` and ``TCPServer/serverPort``. ``TCPServer/acceptError`` is
/// emitted by the first of them, by all where the listening socket broke.
///
/// Where each loop accepts for itself, each of them has a listening socket, and its own settings hold for that;
/// ``TCPServer/maxConnections`` and ``TCPServer/excessConnectionPolicy`` of the first are those of all together, and limit
/// each as well; ``TCPServer/sourceLimits`` and ``TCPServer/acceptRate`` of the first are those of all together. ``TCPServer/acceptError`` is emitted by the one whose accepting meets the error.
///
/// ## Thread
///
/// Every member may be called from any task and thread.
///
/// ## Lifetime
///
/// Releasing a group closes it; connections that were taken live on.
public final class TCPServerGroup: Sendable {
  /// The loops.
  public let eventBases: EventBaseGroup
  let distribution: Distribution
  let stallLimit: Duration?
  private let makeServer: @Sendable (EventBase) -> TCPServer
  private let state = Locked(State.idle)
  let listening = Locked(Listening())
  let policy = Locked<ConnectionPolicy?>(nil)
  private let lastError = Locked("")

  /// Where it listens, for any thread.
  struct Listening: Sendable {
    var place = Place()
    // Where each loop accepts for itself:
    var isOpen = false
    var isBeginning = false
    /// How often it ended.
    var closes: UInt64 = 0
  }

  struct Place: Hashable, Sendable {
    var address = HostAddress.null
    var port: UInt16 = 0
    var path: String?
  }

  private enum State: Sendable {
    case idle
    case preparing
    case ready(Members)
  }

  /// `@unchecked Sendable` because of this invariant: the core's group may be asked on any thread while there are servers.
  @safe struct Members: @unchecked Sendable {
    /// Where each loop accepts for itself it only opens the sockets, and has the limit of all.
    let acceptor: TCPServer
    let servers: [TCPServer]
    /// Nil where each loop accepts for itself.
    let core: OpaquePointer?
  }

  /// Makes a server that does not listen yet.
  ///
  /// - Parameters:
  ///   - eventBases: the loops.
  ///   - distribution: which of them gets a connection.
  ///   - stallLimit: how long a connection may wait for its loop before it is placed on another; 10 milliseconds at first,
  ///     nil for as long as it takes.
  ///   - configure: is called once on each loop, with its server, before the group listens for the first time.
  public convenience init(
    on eventBases: EventBaseGroup,
    distribution: Distribution = .leastConnections,
    stallLimit: Duration? = .milliseconds(10),
    configure: @escaping @Sendable (TCPServer) -> Void = { _ in }
  ) {
    self.init(on: eventBases, distribution: distribution, stallLimit: stallLimit) { eventBase in
      let server = TCPServer(eventBase: eventBase)
      configure(server)
      return server
    }
  }

  /// Makes a server whose connections are received by servers of a class of the program's own.
  ///
  /// - Parameters:
  ///   - eventBases: the loops.
  ///   - distribution: which of them gets a connection.
  ///   - stallLimit: how long a connection may wait for its loop before it is placed on another; 10 milliseconds at first,
  ///     nil for as long as it takes.
  ///   - make: is called once on each loop, before the group listens for the first time, and makes a server on that loop
  ///     that does not listen.
  public init(
    on eventBases: EventBaseGroup,
    distribution: Distribution = .leastConnections,
    stallLimit: Duration? = .milliseconds(10),
    make: @escaping @Sendable (EventBase) -> TCPServer
  ) {
    self.eventBases = eventBases
    self.distribution = distribution
    self.stallLimit = stallLimit
    makeServer = make
  }

  /// The servers; nil before the group has listened.
  var members: Members? {
    state.withLock { if case .ready(let members) = $0 { members } else { nil } }
  }

  // MARK: - Errors

  /// Why the last call that failed did so, for a person to read; empty at first. A later success does not clear it.
  public var errorString: String {
    lastError.withLock { $0 }
  }

  /// - Returns: the error.
  func fail(_ error: SocketError, _ text: String) -> SocketError {
    lastError.withLock { $0 = text }
    return error
  }

  /// The same, where a server of the group has failed.
  func fail(
    as server: TCPServer,
    _ error: @escaping @Sendable (TCPServer) -> SocketError = { $0.serverError }
  ) async -> SocketError {
    let failure = await server.onLoop { Failure(error($0), $0.errorString) }
    return fail(failure.error, failure.text)
  }

  // MARK: - Listening

  /// Listens for connections on an address and port, as ``TCPServer/startListening(address:port:)`` does.
  ///
  /// - Throws: why it failed: ``SocketError/operation`` where the group listens already; nothing is left open.
  ///   ``errorString`` has the text.
  ///
  /// ## Cancellation
  ///
  /// Gives the attempt up and throws `CancellationError`; nothing is left open.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func listen(address: HostAddress = .any, port: UInt16 = 0) async throws {
    let members = try await prepare()
    guard unsafe members.core != nil else { return try await listenOnEach(members, address, port) }
    do {
      try await members.acceptor.startListening(address: address, port: port)
    } catch {
      _ = await fail(as: members.acceptor)
      throw error
    }
    await notePlace(members)
  }

  /// Takes over a listening socket, as ``TCPServer/setSocketDescriptor(_:)`` does.
  ///
  /// - Throws: why it was refused; the descriptor is untouched then, and still the caller's.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func setSocketDescriptor(_ socketDescriptor: CInt) async throws(SocketError) {
    try await setSocketDescriptors([socketDescriptor])
  }

  /// Takes over listening sockets: with ``Distribution/shards`` one for each loop, all of one address and port, otherwise
  /// one.
  ///
  /// - Throws: why they were refused, ``SocketError/operation`` where there are more or fewer; the descriptors are
  ///   untouched then, and still the caller's.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func setSocketDescriptors(_ socketDescriptors: [CInt]) async throws(SocketError) {
    let members = try await prepare()
    guard unsafe members.core != nil else { return try await adoptOnEach(members, socketDescriptors) }
    guard socketDescriptors.count == 1, let socketDescriptor = socketDescriptors.first else {
      throw fail(.operation, "A group takes as many sockets as it has loops, or one for all")
    }
    guard await members.acceptor.onLoop({ $0.setSocketDescriptor(socketDescriptor) }) else {
      throw await fail(as: members.acceptor)
    }
    await notePlace(members)
  }

  func notePlace(_ members: Members) async {
    let found = await members.acceptor.onLoop { $0.place }
    listening.withLock { $0.place = found }
    for server in members.servers { await server.onLoop { $0.memberBegins() } }
  }

  /// Whether the server listens.
  public var isListening: Bool {
    guard let members else { return false }
    return unsafe members.core.map { unsafe csc_group_is_listening($0) } ?? listening.withLock { $0.isOpen }
  }

  /// The address the server listens on; ``HostAddress/null`` when it does not.
  public var serverAddress: HostAddress {
    isListening ? listening.withLock { $0.place.address } : .null
  }

  /// The port the server listens on; 0 when it does not.
  public var serverPort: UInt16 {
    isListening ? listening.withLock { $0.place.port } : 0
  }

  /// Stops listening and closes the connections that no handler has taken, soon. Those taken before are not touched.
  public func close() {
    guard let members else { return }
    endListening()
    members.acceptor.soon { acceptor in
      acceptor.closeHere()
      for server in members.servers { server.soon { $0.closeHere() } }
    }
  }

  /// Stops listening in order, soon: the clients that the kernel has already completed become pending first, whatever the
  /// limits say, and what is pending can still be taken.
  public func finish() {
    finish(until: nil) {}
  }

  /// - Parameters:
  ///   - deadline: when connections whose PROXY header is not complete are closed.
  ///   - then: is called, on the accepting loop, when that has placed all connections.
  func finish(until deadline: ContinuousClock.Instant?, then: @escaping @Sendable () -> Void) {
    guard let members else { return }
    endListening()
    members.acceptor.soon { acceptor in
      acceptor.finishHere()
      let timer = acceptor.closesPrefaces(at: deadline)
      acceptor.whenPrefacesAreOver {
        withExtendedLifetime(timer) {
          for server in members.servers { server.soon { $0.finishHere() } }
          then()
        }
      }
    }
  }

  /// Stops accepting until ``resumeAccepting()``, soon; the kernel goes on queuing clients. Nothing before the servers of
  /// the loops have been made.
  public func pauseAccepting() {
    for server in accepting { server.soon { $0.pauseAccepting() } }
  }

  /// Goes on accepting, soon: after ``pauseAccepting()``, or after an accept error with ``OverloadPolicy/strict``.
  public func resumeAccepting() {
    for server in accepting { server.soon { $0.resumeAccepting() } }
  }

  private var accepting: [TCPServer] {
    guard let members else { return [] }
    return unsafe members.core == nil ? members.servers : [members.acceptor]
  }

  // MARK: - Servers

  /// Makes the servers, once.
  func prepare() async throws(SocketError) -> Members {
    let isMine = try state.withLock { state -> Result<Members?, SocketError> in
      switch state {
      case .ready(let members): return .success(members)
      case .preparing: return .failure(fail(.operation, "The group begins to listen in another task"))
      case .idle:
        state = .preparing
        return .success(nil)
      }
    }.get()
    if let members = isMine { return members }
    do throws(SocketError) {
      let members = try await makeMembers()
      if let first = members.servers.first {
        let settings = await first.onLoop { $0.settingsForAcceptor() }
        await members.acceptor.onLoop { $0.apply(settings) }
      }
      await applyPolicy(to: members)
      state.withLock { $0 = .ready(members) }
      return members
    } catch {
      state.withLock { $0 = .idle }
      throw error
    }
  }

  private func makeMembers() async throws(SocketError) -> Members {
    guard distribution.core != nil else { return try await makeAccepting() }
    let count = eventBases.eventBases.count
    let accepting = eventBases.acceptingEventBase
    let acceptor = await accepting.engine.run { TCPServer(eventBase: accepting) }
    let made = await acceptor.onLoop { [distribution, stallLimit] in
      $0.acceptForGroup(of: count, distribution, stallLimit)
    }
    guard let core = made else { throw await fail(as: acceptor) }
    let servers = try await makeServers { [weak self] in unsafe $0.join(core.pointer, self) }
    await acceptor.onLoop { [weak self] in $0.passErrors(to: self) }
    return unsafe Members(acceptor: acceptor, servers: servers, core: core.pointer)
  }

  /// Makes a server on each loop.
  ///
  /// - Parameter join: is called on its loop, and returns why it cannot be the group's, or nil.
  func makeServers(_ join: @Sendable (TCPServer) -> SocketError?) async throws(SocketError) -> [TCPServer] {
    var servers: [TCPServer] = []
    for eventBase in eventBases.eventBases {
      let server = await eventBase.engine.run { makeServer(eventBase) }
      guard server.eventBase === eventBase else {
        throw fail(.operation, "A server of a group lives on the event base that it is made for")
      }
      guard await server.onLoop(join) == nil else { throw await fail(as: server) }
      servers.append(server)
    }
    return servers
  }

  /// Calls `body` once on each loop with its server and that one's place in ``EventBaseGroup/eventBases``, one after the
  /// other: for what is to be asked of a server on its loop.
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
  /// May be called from any task; `body` runs on the servers' loops.
  public func withServers(_ body: @escaping @Sendable (TCPServer, Int) -> Void) async throws(SocketError) {
    for (index, server) in try await prepare().servers.enumerated() {
      await server.onLoop { body($0, index) }
    }
  }

  /// Calls `body` on the accepting loop with the server that accepts: its limits are those of the whole group.
  ///
  /// It delivers no connections: its signals for them are never emitted. Where each loop accepts for itself, it does not
  /// listen either: it opens the sockets, by its settings, and its ``TCPServer/maxConnections`` and
  /// ``TCPServer/excessConnectionPolicy`` are those of all loops together.
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
  /// May be called from any task; `body` runs on the accepting loop.
  public func withAcceptor<Result: Sendable>(
    _ body: @escaping @Sendable (TCPServer) -> Result
  ) async throws(SocketError) -> Result {
    try await prepare().acceptor.onLoop(body)
  }

  // MARK: - Statistics

  /// The counters of all loops, as one server would have them.
  ///
  /// Also while a loop is busy. Exactly once: while no loop is at work, `accepted + added == delivered + pending +
  /// inMailbox + discardedOnClose + shed + rejectedByAdmission + rejectedByLimit + rejectedBySourceLimit +
  /// rejectedBySourceRate`, with `inPreface + endedInPreface` added on the right. The kernel's queue is left out.
  public var statistics: TCPServer.Statistics {
    var sum = csc_statistics()
    guard let members else { return TCPServer.Statistics() }
    if let core = unsafe members.core {
      unsafe csc_group_statistics(core, &sum, MemoryLayout<csc_statistics>.size)
    } else {
      for server in members.servers { sum.add(server.sharedStatistics) }
    }
    var ends = PolicyEnds.Counts()
    for server in members.servers { server.serverCore.policyEnds.add(to: &ends) }
    let undelivered = members.servers.reduce(0) { $0 + $1.undeliveredOnLoop }
    return TCPServer.Statistics(sum, undelivered: undelivered, ends)
  }

  /// The counters of each loop's server. Also while a loop is busy.
  public var statisticsByLoop: [TCPServer.Statistics] {
    guard let members else { return [] }
    return members.servers.enumerated().map { index, server in
      var one = server.sharedStatistics
      if let core = unsafe members.core {
        unsafe csc_group_member_statistics(core, index, &one, MemoryLayout<csc_statistics>.size)
      }
      return TCPServer.Statistics(one, undelivered: server.undeliveredOnLoop, server.policyEnds)
    }
  }
}
