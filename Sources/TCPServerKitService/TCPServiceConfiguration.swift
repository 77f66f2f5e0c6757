// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
  public import TCPServerKit

  /// Where and how a ``TCPService`` serves.
  public struct TCPServiceConfiguration: Sendable {
    /// One of this machine's addresses; at first all of them.
    public var address: HostAddress = .any
    /// The port; 0, as at first, lets the kernel choose one.
    public var port: UInt16 = 0
    /// Listening sockets that the process has inherited, to be used in place of address and port: one, or with
    /// `Distribution.shards` one for each loop. Empty at first.
    public var inheritedSockets: [CInt] = []
    /// How many connections there may be at once; clients beyond it wait. Nil, as at first, sets no limit.
    public var maxConnections: Int?
    /// How many event loops there are, each on a thread of its own; nil, as at first, for one a processor.
    public var loops: Int?
    /// Which loop gets a connection.
    public var distribution: Distribution = .leastConnections
    /// How long the server goes on accepting when a graceful shutdown is announced: until load balancers have seen it.
    public var shutdownDelay: Duration = .zero
    /// How long handlers may take after that; then they are cancelled.
    public var shutdownTimeout: Duration = .seconds(30)
    /// How long connections between two messages may then wait for their next one; see `GracefulShutdown.idleTime`.
    public var shutdownIdleTime: Duration = .zero
    /// What runs beside the server: a log, metrics.
    public var monitors: [any ServerMonitor] = []
    /// Is called once on each loop with its server, before that listens: for further limits and options.
    public var configure: @Sendable (TCPServer) -> Void = { _ in }
    /// Is called, on a connection's loop, with each error that ends a connection; nil at first.
    public var onError: (@Sendable (any Error, TCPSocket) -> Void)?

    /// Makes a configuration with the values that each property has at first.
    public init() {}

    /// Makes a configuration of a server at a port.
    ///
    /// - Parameters:
    ///   - address: one of this machine's addresses.
    ///   - port: the port; 0 lets the kernel choose one.
    ///   - maxConnections: how many connections there may be at once; nil sets no limit.
    public init(address: HostAddress = .any, port: UInt16, maxConnections: Int? = nil) {
      self.address = address
      self.port = port
      self.maxConnections = maxConnections
    }
  }
#endif
