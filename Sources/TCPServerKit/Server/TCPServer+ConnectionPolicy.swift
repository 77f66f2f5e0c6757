// SPDX-License-Identifier: Apache-2.0

extension TCPServer {
  /// How long peers may hold connections that they do not use; nil, the default, for as long as they like.
  ///
  /// For the connections that are delivered from now on. Those that have a policy already come under a new one, too,
  /// except for the age at which they end and the first byte that they wait for, or have none any more.
  ///
  /// It holds for each ``TCPSocket`` that this server delivers on an event base, until its descriptor is given away: not
  /// for pending connections, which have not been delivered, nor for descriptors that an overridden
  /// ``incomingConnection(_:)`` keeps.
  public final var connectionPolicy: ConnectionPolicy? {
    get {
      requireLoopThread("TCPServer.connectionPolicy")
      return context.connectionRules?.policy
    }
    set {
      requireLoopThread("TCPServer.connectionPolicy")
      context.connectionRules = newValue.map { ConnectionRules($0, serverCore.policyEnds) }
      serverCore.updateRemoteSettings()
      context.loop?.deadlines.reconsider(context)
    }
  }
}

extension TCPServerGroup {
  /// The ``TCPServer/connectionPolicy`` of the servers of all loops; nil, the default, leaves each its own.
  ///
  /// May be set at any time: before the group listens for the first time it replaces what `configure` has set, and
  /// later each loop goes by it soon. Nil then ends the policy on all loops.
  public var connectionPolicy: ConnectionPolicy? {
    get { policy.withLock { $0 } }
    set {
      policy.withLock { $0 = newValue }
      for server in members?.servers ?? [] { server.soon { $0.connectionPolicy = newValue } }
    }
  }

  func applyPolicy(to members: Members) async {
    guard let policy = connectionPolicy else { return }
    for server in members.servers { await server.onLoop { $0.connectionPolicy = policy } }
  }
}
