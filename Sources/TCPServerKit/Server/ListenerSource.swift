// SPDX-License-Identifier: Apache-2.0

/// Where a server gets its listening socket: from a service manager that has opened it, or else from the kernel.
///
/// ```swift
/// let inherited = try InheritedSockets.fromEnvironment()
/// server.listen(on: .inherited("http", from: inherited, orListen: .any, port: 8080))
/// ```
public struct ListenerSource: Sendable {
  let name: String?
  let inherited: InheritedSockets?
  let address: HostAddress
  let port: UInt16

  /// An address and port, as for ``TCPServer/listen(address:port:)``.
  public static func address(_ address: HostAddress = .any, port: UInt16) -> ListenerSource {
    ListenerSource(name: nil, inherited: nil, address: address, port: port)
  }

  /// The listening socket of a name that the process has inherited; where there is none, an address and port.
  ///
  /// - Parameters:
  ///   - name: of which the first socket is taken that no other server has. A group with ``Distribution/shards`` takes as
  ///     many as it has loops, and refuses fewer.
  ///   - inherited: those of the process.
  ///   - address: what to listen on where there is none, as for ``TCPServer/listen(address:port:)``.
  ///   - port: the port there.
  public static func inherited(
    _ name: String,
    from inherited: InheritedSockets,
    orListen address: HostAddress = .any,
    port: UInt16
  ) -> ListenerSource {
    ListenerSource(name: name, inherited: inherited, address: address, port: port)
  }

  /// The listening sockets for a server; empty where it is to listen on the address.
  func reserve(_ count: Int) -> [InheritedSockets.Reservation] {
    guard let name, let inherited else { return [] }
    return inherited.reserveListeners(named: name, count)
  }
}

extension TCPServer {
  /// Listens on an inherited socket, as ``setSocketDescriptor(_:)``, or on an address, as ``listen(address:port:)``.
  ///
  /// - Returns: true on success. Otherwise ``serverError`` and ``errorString`` say why, and an inherited socket is still
  ///   there for another server.
  @discardableResult
  public final func listen(on source: ListenerSource) -> Bool {
    requireLoopThread("TCPServer.listen(on:)")
    let sockets = source.reserve(1)
    guard let socket = sockets.first else { return listen(address: source.address, port: source.port) }
    let listens = setSocketDescriptor(socket.descriptor)
    source.inherited?.end(sockets, areTaken: listens)
    return listens
  }
}

extension TCPServerGroup {
  /// Listens on an inherited socket, as ``setSocketDescriptors(_:)``, or on an address, as ``listen(address:port:)``.
  ///
  /// - Throws: why it failed; an inherited socket is still there for another server.
  ///
  /// ## Cancellation
  ///
  /// Has no effect on an inherited socket; otherwise gives the attempt up and throws `CancellationError`, and nothing is
  /// left open.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func listen(on source: ListenerSource) async throws {
    let count = if case .shards = distribution { eventBases.eventBases.count } else { 1 }
    let sockets = source.reserve(count)
    guard !sockets.isEmpty else { return try await listen(address: source.address, port: source.port) }
    do {
      try await setSocketDescriptors(sockets.map(\.descriptor))
      source.inherited?.end(sockets, areTaken: true)
    } catch {
      source.inherited?.end(sockets, areTaken: false)
      throw error
    }
  }
}
