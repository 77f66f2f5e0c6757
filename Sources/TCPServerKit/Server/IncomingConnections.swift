// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Synchronization

/// A server's connections as a sequence, which ends when the server stops listening, and throws where
/// ``TCPServer/accept()`` does.
///
/// ```swift
/// for try await connection in server.incomingConnections {
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
  public typealias Failure = any Error

  fileprivate let server: TCPServer

  /// Makes an iterator, which waits as ``TCPServer/accept()`` does.
  public func makeAsyncIterator() -> Iterator {
    Iterator(server: server)
  }

  /// Takes the connections one by one.
  public struct Iterator: AsyncIteratorProtocol {
    fileprivate let server: TCPServer

    /// The next connection; nil when the server was closed or finished.
    ///
    /// ## Cancellation
    ///
    /// Throws `CancellationError` and has taken no connection: one that arrives at the same moment stays pending.
    ///
    /// ## Isolation
    ///
    /// May be called from any task.
    public mutating func next() async throws -> IncomingConnection? {
      try await server.acceptIncoming()
    }

    /// The next connection, as the `for await` loop asks for it.
    ///
    /// ## Cancellation
    ///
    /// Throws `CancellationError` and has taken no connection: one that arrives at the same moment stays pending.
    ///
    /// ## Isolation
    ///
    /// May be called from any task.
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws -> IncomingConnection? {
      try await server.acceptIncoming()
    }
  }
}

extension TCPServer {
  /// The connections of this server, as they come.
  public final var incomingConnections: IncomingConnections {
    IncomingConnections(server: self)
  }

  fileprivate final func acceptIncoming() async throws -> IncomingConnection? {
    guard !serverCore.deliversLater else {
      throw await onLoop {
        $0.fail(.operation, "Encrypted connections stay on their loop: accept() or serve() takes them")
      }
    }
    return try await accepting { $0.takePending() }
  }
}

/// An accepted connection that has no event base yet: its taker chooses one, or takes the bare descriptor.
///
/// Released without ever having become a socket, it is closed.
public final class IncomingConnection: Sendable {
  private let peer: csc_address
  /// What a proxy has said of it; nil where its server requires no header (``TCPServer/proxyHeaderRequirement``).
  public let proxied: ProxiedConnection?
  /// -1 once it was taken.
  private let descriptor: Atomic<CInt>
  /// One more than its place among those of its source, while it counts; then 0.
  private let place: Atomic<UInt32>
  private let server: RemoteServerHandle

  init(
    _ descriptor: CInt,
    _ peer: csc_address,
    _ proxied: ProxiedConnection?,
    source: UInt32,
    of server: RemoteServerHandle
  ) {
    self.server = server
    self.proxied = proxied
    self.peer = peer
    place = Atomic(source &+ 1)
    self.descriptor = Atomic(descriptor)
  }

  deinit {
    let left = takeDescriptor()
    if left >= 0 {
      SystemCalls.closeDescriptor(left)
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

  /// Makes the connection a socket.
  ///
  /// - Parameter eventBase: the loop that the socket is to live on; nil for that of the calling thread, or where it has
  ///   none, as in a task of the global pool, that of the server.
  /// - Throws: ``SocketError/operation`` when the connection was taken before.
  public func socket(on eventBase: EventBase? = nil) throws(SocketError) -> TCPSocket {
    let descriptor = descriptor.exchange(-1, ordering: .relaxed)
    guard descriptor >= 0 else { throw .operation }
    let source = endCounting()
    // All at once: its loop may be running on another thread.
    return TCPSocket(
      accepted: unsafe csc_connection(descriptor: descriptor, peer: peer, source: source ?? 0, proxied: nil),
      context: server.context(on: eventBase ?? .current),
      proxied: proxied,
      isCounted: source != nil
    )
  }

  /// Takes the bare descriptor, which the caller owns from now on; -1 when the connection was taken before.
  ///
  /// For ``TCPServer/maxConnections`` it has ended then, unless ``takePermit()`` was called before.
  public func takeDescriptor() -> CInt {
    let descriptor = descriptor.exchange(-1, ordering: .relaxed)
    if descriptor >= 0, let source = endCounting() {
      server.connectionEnded(from: source)
    }
    return descriptor
  }

  /// Takes the permit: the connection counts for ``TCPServer/maxConnections`` and ``TCPServer/Statistics-swift.struct/live``
  /// until it is released.
  ///
  /// - Returns: nil when the connection or its permit was taken before.
  public func takePermit() -> ConnectionPermit? {
    guard descriptor.load(ordering: .relaxed) >= 0, let source = endCounting() else { return nil }
    return ConnectionPermit(server, source: source)
  }

  /// - Returns: its place among those of its source, 0 without one; nil where it does not count any more.
  private func endCounting() -> UInt32? {
    let before = place.exchange(0, ordering: .relaxed)
    return before == 0 ? nil : before - 1
  }
}
