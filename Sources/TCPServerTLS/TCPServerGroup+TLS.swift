// SPDX-License-Identifier: Apache-2.0

public import TCPServerKit

extension TCPServerGroup {
  /// Makes a group whose connections are encrypted: each loop has an ``SSLServer``.
  ///
  /// A handshake is done by the loop that the connection is placed on. All loops accept the tickets of
  /// ``SSLConfiguration/sessionTickets``.
  ///
  /// - Parameters:
  ///   - eventBases: the loops.
  ///   - distribution: which of them gets a connection.
  ///   - stallLimit: how long a connection may wait for its loop before it is placed on another; 10 milliseconds at first,
  ///     nil for as long as it takes.
  ///   - configuration: how connections are encrypted. One that cannot be used lets each connection fail:
  ///     ``SSLConfiguration/checkForServer()`` finds that before.
  ///   - configure: is called once on each loop, with its server, before the group listens for the first time.
  public convenience init(
    on eventBases: EventBaseGroup,
    distribution: Distribution = .leastConnections,
    stallLimit: Duration? = .milliseconds(10),
    tls configuration: SSLConfiguration,
    configure: @escaping @Sendable (SSLServer) -> Void = { _ in }
  ) {
    self.init(on: eventBases, distribution: distribution, stallLimit: stallLimit) { eventBase in
      let server = SSLServer(eventBase: eventBase)
      server.sslConfiguration = configuration
      configure(server)
      return server
    }
  }

  /// Sets ``SSLServer/sslConfiguration`` of all loops: handshakes that begin later have the new one.
  ///
  /// - Throws: ``SSLError/Reason/configuration`` with the setting that cannot be used, and why, and nothing has been
  ///   changed; ``TCPServerKit/SocketError`` where the servers cannot be made.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func setSSLConfiguration(_ configuration: SSLConfiguration) async throws {
    try configuration.checkForServer()
    try await withServers { server, _ in (server as? SSLServer)?.sslConfiguration = configuration }
  }
}
