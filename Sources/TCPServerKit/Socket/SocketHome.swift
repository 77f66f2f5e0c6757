internal import CServerCore
internal import Synchronization

/// Where a socket lives: its loop, and the server that counts it among its connections, if one does. Shared by all
/// sockets of a place, so that a socket has one reference for both.
///
/// `@unchecked Sendable` because of this invariant: what changes, and what it refers to, is used on the loop's thread
/// alone.
final class SocketHome: @unchecked Sendable {
  let engine: EventEngine?
  /// The server, where it lives on the same loop, or without one.
  let server: ServerCore?
  private let elsewhere: ServerElsewhere?
  /// See `TCPSocket.deliveryTimeout`. Set by the server, on the loop's thread.
  var deliveryTimeout = defaultDeliveryTimeout

  static let defaultDeliveryTimeout: Duration = .seconds(30)

  init(engine: EventEngine?, server: ServerCore? = nil) {
    self.engine = engine
    self.server = server
    elsewhere = nil
  }

  init(engine: EventEngine?, of server: ServerElsewhere) {
    self.engine = engine
    self.server = nil
    elsewhere = server
    deliveryTimeout = server.deliveryTimeout.withLock { $0 }
  }

  /// For sockets that need no loop.
  static let withoutLoop = SocketHome(engine: nil)

  /// What tells the server from any thread; nil where none can be told: there is no server any more, or it has no loop.
  var whoeverCounts: ServerElsewhere? {
    if let elsewhere {
      return elsewhere
    }
    guard let owner = unsafe server?.owner, owner.eventBase != nil else { return nil }
    return owner.elsewhere
  }

  /// The peer of a connection that the server counts has not got everything.
  func noteUndelivered() {
    if let server {
      server.undelivered += 1
    } else {
      elsewhere?.noteUndelivered()
    }
  }

  /// A connection has ended, which its server counted.
  func connectionEnded() {
    if let server {
      server.connectionEnded()
    } else {
      elsewhere?.connectionEnded()
    }
  }
}

/// The core of a server. It stays until the last socket has gone that tells it of its end.
@safe final class ServerCore {
  let pointer: OpaquePointer?
  /// Whose core it is, until that ends.
  unowned(unsafe) var owner: TCPServer?
  /// Who else wants to know of each end; nil as long as nobody does.
  private(set) var endWatch: EndWatch?
  /// Connections on the server's loop whose peer has not got everything.
  var undelivered: UInt64 = 0

  init(_ pointer: OpaquePointer?) {
    unsafe self.pointer = pointer
  }

  deinit {
    unsafe csc_server_free(pointer)
  }

  func connectionEnded() {
    unsafe csc_server_connection_ended(pointer)
    endWatch?.connectionEnded()
  }

  func watchEnds() -> EndWatch {
    if let endWatch {
      return endWatch
    }
    let watch = unsafe EndWatch(core: pointer)
    endWatch = watch
    return watch
  }

  /// Somebody on the loop has closed a descriptor.
  ///
  /// - Returns: whether the server still lacks resources, as far as it knows.
  func descriptorFreed() -> Bool {
    unsafe csc_server_descriptor_freed(pointer)
  }
}

/// A server as its connections know it that may be on any thread.
///
/// `@unchecked Sendable` because of this invariant: the server is looked at on its loop alone, where it ends as well;
/// the rest never changes.
@safe final class ServerElsewhere: @unchecked Sendable {
  private weak var engine: EventEngine?
  /// Only compared, while there is a server, which keeps its loop alive.
  private let engineID: ObjectIdentifier?
  // Not weak: taking a weak reference, and each one to the server from then on, would cost hundreds of instructions.
  private unowned(unsafe) var server: TCPServer?
  /// Connections on other loops whose peer has not got everything.
  private let undelivered = Atomic<UInt64>(0)
  /// For connections on other loops.
  let deliveryTimeout: Locked<Duration>

  init(_ server: TCPServer) {
    deliveryTimeout = Locked(server.home.deliveryTimeout)
    unsafe self.server = server
    engine = server.eventBase?.engine
    engineID = (server.eventBase?.engine).map { ObjectIdentifier($0) }
  }

  /// From any thread.
  func noteUndelivered() {
    undelivered.add(1, ordering: .relaxed)
  }

  var undeliveredCount: UInt64 {
    undelivered.load(ordering: .relaxed)
  }

  /// From the server's end.
  func serverEnds() {
    unsafe server = nil
  }

  /// A connection has ended that the server counted; from any thread.
  func connectionEnded() {
    guard let engine else { return }
    if engine.isOwner {
      unsafe server?.connectionEnded()
    } else {
      engine.post(.closure { unsafe self.server?.connectionEnded() })
    }
  }

  /// Where a connection of the server lives that becomes a socket on the loop of the calling thread.
  func home(on engine: EventEngine?) -> SocketHome {
    if let engine, ObjectIdentifier(engine) == engineID, let server = unsafe server {
      return server.home
    }
    return SocketHome(engine: engine, of: self)
  }
}

/// Being counted by a server, from the accept until the descriptor is closed or given away.
extension TCPSocket {
  /// The server of `home` counts this socket from now on.
  func beCounted(by home: SocketHome) {
    self.home = home.engine === engine ? home : SocketHome(engine: engine, server: home.server)
    flags.insert(.counted)
  }

  /// No server counts it any more.
  func stopBeingCounted() {
    guard flags.contains(.counted) else { return }
    flags.remove(.counted)
    home.connectionEnded()
  }

  func closeDescriptor() {
    SystemCalls.closeDescriptor(descriptor)
    descriptor = -1
    stopBeingCounted()
    if let engine, engine.hasStarvingServers {
      engine.descriptorFreed()
    }
  }
}
