internal import CServerCore
internal import Synchronization

/// A server's connections as a sequence, which ends when the server stops listening.
///
/// ```swift
/// for try await connection in server.connections {
///   group.addTask { try await serve(connection.socket()) }
/// }
/// ```
///
/// Where the task is cancelled, or the loop over the sequence is left, nothing is lost: connections that were
/// not handed out stay pending in the server.
public struct IncomingConnections: AsyncSequence {
  /// What the sequence consists of.
  public typealias Element = IncomingConnection
  /// What an iteration can throw.
  public typealias Failure = SocketError

  fileprivate let server: TCPServer

  /// Makes an iterator, which waits as ``TCPServer/accept()`` does.
  public func makeAsyncIterator() -> Iterator {
    Iterator(server: server)
  }

  /// Takes the connections one by one.
  public struct Iterator: AsyncIteratorProtocol {
    fileprivate let server: TCPServer

    /// The next connection; nil when the server does not listen any more, or the task was cancelled.
    ///
    /// ## Cancellation
    ///
    /// Returns nil and has taken no connection: one that arrives at the same moment stays pending.
    ///
    /// ## Isolation
    ///
    /// Runs where its caller does, which must be on the server's event base.
    public mutating func next() async throws(SocketError) -> IncomingConnection? {
      try await server.acceptIncoming()
    }

    /// The next connection, as the `for await` loop asks for it.
    ///
    /// ## Cancellation
    ///
    /// Returns nil and has taken no connection: one that arrives at the same moment stays pending.
    ///
    /// ## Isolation
    ///
    /// Runs on `actor`, or where its caller does: on the server's event base.
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(SocketError) -> IncomingConnection? {
      try await server.acceptIncoming()
    }
  }
}

extension TCPServer {
  /// The connections of this server, as they come.
  public final var connections: IncomingConnections {
    IncomingConnections(server: self)
  }

  fileprivate final func acceptIncoming() async throws(SocketError) -> IncomingConnection? {
    var isInVain = false
    while try await waitForPending(isInVain) {
      if let connection = takePending() {
        return IncomingConnection(connection, of: elsewhere)
      }
      isInVain = true
    }
    return nil
  }
}

/// An accepted connection on its way to whoever serves it. `Sendable`, unlike the socket it becomes.
///
/// Released without ever having become a socket, it is closed.
public final class IncomingConnection: Sendable {
  private let peer: csc_address
  /// -1 once it was taken.
  private let descriptor: Atomic<CInt>
  private let server: ServerElsewhere

  init(_ connection: csc_connection, of server: ServerElsewhere) {
    self.server = server
    peer = connection.peer
    descriptor = Atomic(connection.descriptor)
  }

  deinit {
    let left = exchangeDescriptor()
    if left >= 0 {
      SystemCalls.closeDescriptor(left)
      server.connectionEnded()
    }
  }

  /// The peer's address.
  public var peerAddress: HostAddress {
    HostAddress(peer)
  }

  /// The peer's port.
  public var peerPort: UInt16 {
    peer.port
  }

  /// Makes the connection a socket on the loop of the calling thread.
  ///
  /// - Parameter eventBase: the loop that the socket is to live on.
  /// - Throws: ``SocketError/operation`` when the connection was taken before.
  public func socket(on eventBase: EventBase? = .current) throws(SocketError) -> sending TCPSocket {
    let descriptor = exchangeDescriptor()
    guard descriptor >= 0 else { throw .operation }
    return TCPSocket(
      accepted: csc_connection(descriptor: descriptor, peer: peer, reserved: 0),
      home: server.home(on: eventBase?.engine)
    )
  }

  /// Takes the bare descriptor, which the caller owns from now on; -1 when the connection was taken before.
  ///
  /// For ``TCPServer/maxConnections`` it has ended then; ``takeCountedDescriptor()`` lets it count on.
  public func takeDescriptor() -> CInt {
    let descriptor = exchangeDescriptor()
    if descriptor >= 0 {
      server.connectionEnded()
    }
    return descriptor
  }

  /// Takes the bare descriptor of a connection that goes on counting for ``TCPServer/maxConnections`` and
  /// ``TCPServer/Statistics-swift.struct/live``; nil when the connection was taken before.
  ///
  /// - Returns: the descriptor, which the caller owns from now on, and `tellEnded`, which the caller calls once it has
  ///   closed that, on any thread. The first call counts, and so does releasing the closure without a call.
  public func takeCountedDescriptor() -> (descriptor: CInt, tellEnded: @Sendable () -> Void)? {
    let descriptor = exchangeDescriptor()
    guard descriptor >= 0 else { return nil }
    let place = CountedPlace(server)
    return (descriptor, { place.giveBack() })
  }

  private func exchangeDescriptor() -> CInt {
    descriptor.exchange(-1, ordering: .relaxed)
  }
}
