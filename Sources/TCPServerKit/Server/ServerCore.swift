// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// The core of a server, and what its callbacks need. It stays, on the loop, until the server and the last socket that
/// counts there have gone: a callback that comes while the server is released on another thread finds all it touches.
@safe final class ServerCore: ServerHandle {
  let newConnection: Signal<Void>
  let acceptError: Signal<SocketError>
  let connectionRejected: Signal<RejectedConnection>
  var admissionHandler: ((HostAddress, UInt16) -> Admission)?
  /// Of a server that accepts for a group, where its program chooses the loops.
  var choice: ((HostAddress, UInt16) -> Int)?
  /// Of a server of a group, each of whose servers has a socket of its own.
  var onBroken: ((SocketError) -> Void)?
  /// Of the server that opens their sockets, and has their limit.
  var budget: SharedBudget?
  /// See `TCPServer.sourceLimits` and `TCPServer.acceptRate`.
  var limiting = TCPServer.Limiting()
  /// See `TCPServer.proxyHeaderRequirement`.
  var proxyHeaderRequirement: ProxyHeaderRequirement?
  /// Called once when no connection is in the preface any more.
  var onPrefacesOver: (() -> Void)?
  /// Connections become pending some time after they have come; see TCPServer+Handshakes.swift.
  var deliversLater = false
  /// How many have come and are not pending yet.
  var undeliveredYet = 0
  /// Ends those.
  var endUndelivered: (() -> Void)?
  /// Why the listening socket broke; forgotten when the server listens again.
  var listenerFailure: SocketError?
  /// See `TCPServer.pendingConnectionAvailable`.
  var pendingAvailable: Signal<Void>?
  /// What the counters were when the server was monitored last.
  var monitoredStatistics: TCPServer.Statistics?
  /// While it begins to listen.
  unowned(unsafe) var listener: TCPServer?
  /// The server, where its class overrides what a callback calls.
  weak var overrider: TCPServer? {
    didSet { isOverridden = true }
  }
  private(set) var isOverridden = false

  init(engine: EventEngine?, confinement: ThreadConfinement) {
    newConnection = Signal(on: confinement)
    acceptError = Signal(on: confinement)
    connectionRejected = Signal(on: confinement)
    super.init(engine: engine)
    listenToCore()
  }
}
