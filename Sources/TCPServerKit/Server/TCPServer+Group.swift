// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What a ``TCPServerGroup`` needs of its servers.
extension TCPServer {
  /// Runs `body` on the loop, as a part of the calling task.
  final func onLoop<Result: Sendable>(_ body: @Sendable (TCPServer) -> Result) async -> Result {
    guard let engine = eventBase?.engine else { return body(self) }
    return await engine.run { body(self) }
  }

  /// Has the loop run `body` soon; at once where the caller is on it.
  final func soon(_ body: @escaping @Sendable (TCPServer) -> Void) {
    guard let engine = eventBase?.engine, !engine.isOwner else { return body(self) }
    engine.post(.closure { [self] in body(self) })
  }

  /// From any thread.
  final var undeliveredOnLoop: UInt64 {
    serverCore.undeliveredCount
  }

  /// Where it listens itself.
  final var place: TCPServerGroup.Place {
    let address = unsafe csc_server_address(core)
    let binding = proxyListener?.binding
    return TCPServerGroup.Place(
      address: binding?.address ?? HostAddress(address),
      port: binding?.port ?? address.port,
      path: ownPath
    )
  }

  // MARK: - The server that accepts

  /// `@unchecked Sendable` because of this invariant: it is a pointer to what any thread may use.
  @safe struct GroupCore: @unchecked Sendable {
    let pointer: OpaquePointer
  }

  /// Places the connections on members from now on; nil where it cannot, with the reason in ``serverError``.
  final func acceptForGroup(
    of count: Int,
    _ distribution: Distribution,
    _ stallLimit: Duration?
  ) -> GroupCore? {
    guard let group = unsafe csc_group_new(core, count) else { return nil }
    unsafe csc_group_set_distribution(group, distribution.core ?? CSC_LEAST_CONNECTIONS)
    let limit = stallLimit.map { CInt(clamping: Int($0.limited / .milliseconds(1))) }
    unsafe csc_group_set_stall_limit(group, limit ?? -1)
    if case .custom(let choose) = distribution {
      serverCore.choice = choose
      unsafe csc_group_on_choice(group, onChoice, Unmanaged.passUnretained(serverCore).toOpaque())
    }
    // Which would be called for each connection, and find none.
    unsafe csc_server_on_new_connection(core, nil, nil)
    return unsafe GroupCore(pointer: group)
  }

  /// The members report what accepting meets; where the socket broke, their tasks have nothing to wait for.
  final func passErrors(to group: TCPServerGroup?) {
    // Of the group, not of its servers: references to what is referred to weakly cost several times as much.
    acceptError.connect { [unowned self, weak group] error in
      let isListening = isListeningNow
      guard let servers = group?.members?.servers else { return }
      if isListening {
        servers.first?.soon { $0.serverCore.announceError(error, isListening: true) }
      } else {
        for server in servers { server.soon { $0.memberFails(error) } }
      }
    }
  }

  /// What concerns the listening socket, or limits a group as a whole.
  ///
  /// `@unchecked Sendable` because of this invariant: the closure is the first server's no more, and is called on the
  /// accepting loop alone.
  struct AcceptorSettings: @unchecked Sendable {
    let maxConnections: Int?
    let excess: ExcessConnectionPolicy
    let maxPending: Int?  // nil for the acceptor's own, which lets a burst go to one loop
    let backlog: Int
    let options: [SocketOption: Int]
    let preparation: ((CInt) -> CInt)?
    let overloadPolicy: OverloadPolicy
    let reserve: Int
    let expectedDescriptors: Int
    let proxy: NetworkProxy
    let proxyOptions: ProxyListenOptions
    let proxyHeaders: ProxyHeaderRequirement?
    let maxPrefaces: Int
    let sourceLimits: SourceLimits?
    let acceptRate: AcceptRate?
  }

  final func settingsForAcceptor() -> AcceptorSettings {
    AcceptorSettings(
      maxConnections: maxConnections,
      excess: excessConnectionPolicy,
      maxPending: maxPendingConnections == Self.firstMaxPending ? nil : maxPendingConnections,
      backlog: listenBacklogSize,
      options: options,
      preparation: socketPreparation,
      overloadPolicy: overloadPolicy,
      reserve: descriptorReserve,
      expectedDescriptors: expectedDescriptors,
      proxy: ownProxy,
      proxyOptions: listenOptions,
      proxyHeaders: proxyHeaderRequirement,
      maxPrefaces: maxPrefaces,
      sourceLimits: sourceLimits,
      acceptRate: acceptRate
    )
  }

  final func apply(_ settings: AcceptorSettings) {
    excessConnectionPolicy = settings.excess
    maxConnections = settings.maxConnections
    if let maxPending = settings.maxPending { maxPendingConnections = maxPending }
    listenBacklogSize = settings.backlog
    options = settings.options
    socketPreparation = settings.preparation
    overloadPolicy = settings.overloadPolicy
    descriptorReserve = settings.reserve
    expectedDescriptors = settings.expectedDescriptors
    ownProxy = settings.proxy
    listenOptions = settings.proxyOptions
    proxyHeaderRequirement = settings.proxyHeaders
    maxPrefaces = settings.maxPrefaces
    sourceLimits = settings.sourceLimits
    acceptRate = settings.acceptRate
  }

  // MARK: - Members

  /// - Returns: why it cannot be a member; nil when it is.
  final func join(_ core: OpaquePointer, _ group: TCPServerGroup?) -> SocketError? {
    leaveLimitsToGroup()
    guard unsafe csc_group_add(core, self.core) else { return serverError }
    self.group = group
    isMember = true
    return nil
  }

  /// Ends what the last end has left, if the group listens: it may have been closed since it began.
  final func memberBegins() {
    guard isListeningNow else { return }
    hasEnded = false
    serverCore.listenerFailure = nil
    context.drain = nil
  }

  /// The listening socket of the group has broken. What was on its way can still be taken.
  final func memberFails(_ error: SocketError) {
    finishHere()
    // One that has a socket of its own may have found it broken itself.
    if serverCore.listenerFailure == nil { serverCore.announceError(error, isListening: false) }
  }

  @discardableResult
  final func failAsMember() -> SocketError {
    fail(.operation, "A member of a group gets its connections from the server that accepts")
  }
}

private func onChoice(
  _: OpaquePointer,
  peer: UnsafePointer<csc_address>,
  context: UnsafeMutableRawPointer?
) -> Int {
  guard let core = unsafe ServerCore.of(context), let choose = core.choice else { return -1 }
  let peer = unsafe peer.pointee
  return core.inCallback { choose(HostAddress(peer), peer.port) }
}
