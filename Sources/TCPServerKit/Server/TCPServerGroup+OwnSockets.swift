// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// A group each of whose loops accepts for itself, from a listening socket of its own or a duplicate of a common one.
extension TCPServerGroup {
  /// The sockets of a group that begins to listen.
  private struct Sockets {
    var descriptors: [CInt]
    /// Of those that a caller has opened, as they were; nil for the group's own.
    var flags: [SystemCalls.DescriptorFlags]?
  }

  /// Servers that accept each for itself, within one budget.
  func makeAccepting() async throws(SocketError) -> Members {
    let accepting = eventBases.acceptingEventBase
    guard let budget = SharedBudget() else { throw fail(.socketResource, Failure.outOfResources.text) }
    let acceptor = await accepting.engine.run { TCPServer(eventBase: accepting) }
    await acceptor.onLoop { $0.serverCore.budget = budget }
    let servers = try await makeServers { [weak self, isQueueShared] in
      $0.accept(within: budget, self, oneATurn: isQueueShared)
    }
    await acceptor.onLoop {
      $0.serverCore.limiting.share = { limiting in
        for server in servers { server.soon { $0.share(limiting) } }
      }
    }
    return unsafe Members(acceptor: acceptor, servers: servers, core: nil)
  }

  var isQueueShared: Bool {
    if case .sharedQueue = distribution { true } else { false }
  }

  func listenOnEach(_ members: Members, _ address: HostAddress, _ port: UInt16) async throws {
    try Task.checkCancellation()
    let closes = try beginListening("listen()")
    // What was to close before has closed then: the port may be the same.
    for server in members.servers { await server.onLoop { _ in } }
    let count = isQueueShared ? 1 : members.servers.count
    guard let opened = await members.acceptor.onLoop({ $0.openSockets(count, address, port) }) else {
      endListening()
      throw await fail(as: members.acceptor)
    }
    try await give(Sockets(descriptors: opened, flags: nil), to: members, closes)
  }

  func adoptOnEach(_ members: Members, _ descriptors: [CInt]) async throws(SocketError) {
    let closes = try beginListening("setSocketDescriptor()")
    let count = isQueueShared ? 1 : members.servers.count
    guard descriptors.count == count else {
      endListening()
      throw await fail(as: members.acceptor) {
        $0.fail(.operation, "A group takes as many sockets as it has loops, or one for all")
      }
    }
    let sockets = Sockets(descriptors: descriptors, flags: descriptors.map(SystemCalls.flags))
    try await give(sockets, to: members, closes)
  }

  /// Each server takes its socket, and none accepts before all have one.
  private func give(
    _ sockets: Sockets,
    to members: Members,
    _ closes: UInt64
  ) async throws(SocketError) {
    do throws(SocketError) {
      let all = try isQueueShared ? duplicates(of: sockets, members.servers.count) : sockets.descriptors
      var places: [Place] = []
      for (server, descriptor) in zip(members.servers, all) {
        guard let place = await server.onLoop({ $0.takeSocket(descriptor, isAdopted: sockets.flags != nil) })
        else {
          await takeBack(all, taken: places.count, sockets, members)
          throw await fail(as: server)
        }
        places.append(place)
      }
      guard let place = places.first, places.allSatisfy({ $0 == place }) else {
        await takeBack(all, taken: places.count, sockets, members)
        throw await fail(as: members.acceptor) {
          $0.fail(.operation, "The sockets of a group listen on one address")
        }
      }
      await announce(members, at: place, closes)
    } catch {
      endListening()
      throw error
    }
  }

  /// The first is the socket itself. On failure nothing is left of the others, nor of one that is not a caller's.
  private func duplicates(of sockets: Sockets, _ count: Int) throws(SocketError) -> [CInt] {
    var all = sockets.descriptors
    while all.count < count {
      let duplicate = SystemCalls.duplicate(all[0])
      guard duplicate >= 0 else {
        for descriptor in all.dropFirst(sockets.flags == nil ? 0 : 1) {
          SystemCalls.closeDescriptor(descriptor)
        }
        throw fail(.socketResource, Failure.outOfResources.text)
      }
      all.append(duplicate)
    }
    return all
  }

  /// What a caller has opened is the caller's again, and as it was.
  private func takeBack(_ all: [CInt], taken: Int, _ sockets: Sockets, _ members: Members) async {
    for server in members.servers.prefix(taken) { await server.onLoop { $0.releaseSocket() } }
    let flags = sockets.flags ?? []
    for (descriptor, flags) in zip(all, flags) { SystemCalls.setFlags(flags, of: descriptor) }
    for descriptor in all.dropFirst(flags.count) { SystemCalls.closeDescriptor(descriptor) }
  }

  private func announce(_ members: Members, at place: Place, _ closes: UInt64) async {
    let isWanted = listening.withLock { listening in
      listening.place = place
      listening.isOpen = listening.closes == closes
      listening.isBeginning = false
      return listening.isOpen
    }
    for server in members.servers {
      // What was closed meanwhile has not begun.
      await server.onLoop { isWanted ? $0.beginAccepting() : $0.closeHere() }
    }
  }

  /// The socket of one loop has broken: no loop is to serve alone.
  func socketBroke(_ error: SocketError) {
    endListening()
    for server in members?.servers ?? [] { server.soon { $0.memberFails(error) } }
  }

  // MARK: - Whether it listens, for any thread

  /// - Returns: how often it was closed before.
  private func beginListening(_ call: StaticString) throws(SocketError) -> UInt64 {
    try listening.withLock { listening -> Result<UInt64, SocketError> in
      guard !listening.isOpen, !listening.isBeginning else {
        return .failure(fail(.operation, "\(call) called when already listening"))
      }
      listening.isBeginning = true
      return .success(listening.closes)
    }.get()
  }

  func endListening() {
    listening.withLock { listening in
      listening.isOpen = false
      listening.isBeginning = false
      listening.closes += 1
    }
  }
}

/// What such a group needs of its servers.
extension TCPServer {
  /// - Returns: why it cannot be one of them; nil when it is.
  final func accept(within budget: SharedBudget, _ group: TCPServerGroup?, oneATurn: Bool) -> SocketError? {
    leaveLimitsToGroup()
    guard unsafe csc_server_share_statistics(core), unsafe csc_server_set_budget(core, budget.pointer) else {
      return serverError
    }
    // A loop that is idle gets a client sooner than one that has just accepted another.
    if oneATurn { acceptBatchSize = 1 }
    self.group = group
    isMember = true
    // Of the group, not of the server: references to what is referred to weakly cost several times as much.
    serverCore.onBroken = { [weak group] in group?.socketBroke($0) }
    return nil
  }

  /// For the loops of a group, with the options of this server, which itself does not listen.
  ///
  /// - Returns: nil on failure, with the reason in ``serverError``.
  final func openSockets(_ count: Int, _ address: HostAddress, _ port: UInt16) -> [CInt]? {
    let query = NetworkProxyQuery(serverOn: port)
    guard case .direct = ProxyRoute.find(for: query, own: ownProxy, isLoopback: address.isLoopback) else {
      fail(.unsupportedSocketOperation, "Through a proxy one loop accepts for all")
      return nil
    }
    var descriptors = [CInt](repeating: -1, count: count)
    let opened = opening {
      var address = address.core(port: port)
      return unsafe csc_server_open_sockets(core, &address, &descriptors, count)
    }
    return opened ? descriptors : nil
  }

  /// Listens, but accepts nothing yet; nil where it cannot, with the reason in ``serverError``.
  final func takeSocket(_ descriptor: CInt, isAdopted: Bool) -> TCPServerGroup.Place? {
    forgetLastEnd()
    unsafe csc_server_pause(core)
    guard unsafe csc_server_adopt(core, descriptor) else {
      endHold()
      return nil
    }
    if isAdopted { SystemCalls.keepUrgentBytesInLine(descriptor) }
    return place
  }

  final func releaseSocket() {
    _ = unsafe csc_server_release(core)
    endHold()
  }

  final func beginAccepting() {
    memberBegins()
    endHold()
  }

  /// Accepts again, unless the program has paused it.
  private final func endHold() {
    if !isPaused { unsafe csc_server_resume(core) }
  }
}
