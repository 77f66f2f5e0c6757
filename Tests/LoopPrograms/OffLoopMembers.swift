// SPDX-License-Identifier: Apache-2.0

import CLibevent
import Glibc
import TCPServerKit

/// Every public member of the types that belong to an event base.
let members: [Member] =
  socketMembers + waitingSocketMembers + orderingSocketMembers + serverMembers + serverSettings + otherMembers

// MARK: - Making entries

private func hops(_ name: String, _ call: @escaping @Sendable (Scene) async throws -> Void) -> Member {
  Member(name: name, threadClass: .hops, call: .async(call))
}

private func posts(
  _ name: String,
  _ call: @escaping @Sendable (Scene) throws -> Void,
  after prepare: (@Sendable (Scene) -> Void)? = nil,
  until isDone: @escaping @Sendable (Scene) -> Bool
) -> Member {
  Member(name: name, threadClass: .posts, prepare: prepare, call: .sync(call), isDone: isDone)
}

private func anywhere(_ name: String, _ call: @escaping @Sendable (Scene) throws -> Void) -> Member {
  Member(name: name, threadClass: .anywhere, call: .sync(call))
}

private func anywhereAwaited(_ name: String, _ call: @escaping @Sendable (Scene) async throws -> Void)
  -> Member
{
  Member(name: name, threadClass: .anywhere, call: .async(call))
}

private func traps(
  _ name: String,
  _ variant: String = "",
  text: String? = nil,
  _ call: @escaping @Sendable (Scene) throws -> Void
) -> Member {
  Member(name: name, threadClass: .traps, variant: variant, call: .sync(call), text: text)
}

/// The call as programs write it.
private let connectText =
  "Signal.connect(_:) was called on another thread than its EventBase's, as by a plain Task"

/// A property that belongs to the loop, and may be set.
private func setting<Root: Sendable, Value>(
  _ name: String,
  _ object: @escaping @Sendable (Scene) -> Root,
  _ path: any ReferenceWritableKeyPath<Root, Value> & Sendable,
  _ value: Value
) -> [Member] where Value: Sendable {
  [
    traps(name) { _ = object($0)[keyPath: path] },
    traps(name + " =") { object($0)[keyPath: path] = value },
  ]
}

// MARK: - TCPSocket

private let socketMembers: [Member] =
  [
    anywhere("TCPSocket.init(eventBase:)") { _ = TCPSocket(eventBase: $0.base) },
    anywhere("TCPSocket.state") { _ = $0.socket.state },
    anywhere("TCPSocket.peerAddress") { _ = $0.socket.peerAddress },
    anywhere("TCPSocket.peerPort") { _ = $0.socket.peerPort },
    traps("TCPSocket.peerAddress", " of one that connects") { _ = $0.fresh.peerAddress },
    traps("TCPSocket.peerPort", " of one that connects") { _ = $0.fresh.peerPort },
    anywhere("TCPSocket.bytes") { _ = $0.socket.bytes },
    anywhere("TCPSocket.lines") { _ = $0.socket.lines },
    anywhere("TCPSocket.lines(maxLength:timeout:)") { _ = $0.socket.lines(maxLength: 10) },
    anywhere("TCPSocket.Bytes.makeAsyncIterator()") { _ = $0.socket.bytes.makeAsyncIterator() },
    anywhere("TCPSocket.Lines.makeAsyncIterator()") { _ = $0.socket.lines.makeAsyncIterator() },
    traps("TCPSocket.atEnd") { _ = $0.socket.atEnd },
    traps("TCPSocket.bind(address:port:)") { _ = $0.fresh.bind(address: .localHost) },
    traps("TCPSocket.proxied") { _ = $0.socket.proxied },
    traps("TCPSocket.bytesAvailable") { _ = $0.socket.bytesAvailable },
    traps("TCPSocket.bytesOfFailedWrite") { _ = $0.socket.bytesOfFailedWrite },
    traps("TCPSocket.bytesToWrite") { _ = $0.socket.bytesToWrite },
    traps("TCPSocket.bytesWritten") { _ = $0.socket.bytesWritten },
    traps("TCPSocket.canReadLine") { _ = $0.socket.canReadLine },
    traps("TCPSocket.commitTransaction()") { $0.socket.commitTransaction() },
    traps("TCPSocket.connected") { _ = $0.socket.connected },
    traps("TCPSocket.detach()") { _ = $0.socket.detach() },
    traps("TCPSocket.disconnected") { _ = $0.socket.disconnected },
    traps("TCPSocket.error") { _ = $0.socket.error },
    traps("TCPSocket.errorOccurred") { _ = $0.socket.errorOccurred },
    traps("TCPSocket.errorString") { _ = $0.socket.errorString },
    traps("TCPSocket.flush()") { _ = $0.socket.flush() },
    traps("TCPSocket.isOpen") { _ = $0.socket.isOpen },
    traps("TCPSocket.isPastMaximumAge") { _ = $0.socket.isPastMaximumAge },
    traps("TCPSocket.isTransactionStarted") { _ = $0.socket.isTransactionStarted },
    traps("TCPSocket.isValid") { _ = $0.socket.isValid },
    traps("TCPSocket.peerCredentials") { _ = $0.socket.peerCredentials },
    traps("TCPSocket.localAddress") { _ = $0.socket.localAddress },
    traps("TCPSocket.localPort") { _ = $0.socket.localPort },
    traps("TCPSocket.maximumAgeReached") { _ = $0.socket.maximumAgeReached },
    traps("TCPSocket.peek(maxLength:)") { _ = $0.socket.peek(maxLength: 1) },
    traps("TCPSocket.read(into:)") { scene in
      unsafe withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) {
        unsafe _ = scene.socket.read(into: $0)
      }
    },
    traps("TCPSocket.read(maxLength:)") { _ = $0.socket.read(maxLength: 1) },
    traps("TCPSocket.readAll()") { _ = $0.socket.readAll() },
    traps("TCPSocket.readAll(_:)") { $0.socket.readAll { _ in } },
    traps("TCPSocket.readChannelFinished") { _ = $0.socket.readChannelFinished },
    traps("TCPSocket.readLine(maxLength:)") { _ = $0.socket.readLine(maxLength: 1) },
    traps("TCPSocket.readyRead") { _ = $0.socket.readyRead },
    traps("TCPSocket.rollbackTransaction()") { $0.socket.rollbackTransaction() },
    traps("TCPSocket.setSocketDescriptor(_:)") { _ = $0.fresh.setSocketDescriptor(-1) },
    traps("TCPSocket.setSocketOption(_:_:)") { _ = $0.socket.setSocketOption(.lowDelay, 1) },
    traps("TCPSocket.skip(_:)") { _ = $0.socket.skip(1) },
    traps("TCPSocket.socketDescriptor") { _ = $0.socket.socketDescriptor },
    traps("TCPSocket.socketOption(_:)") { _ = $0.socket.socketOption(.lowDelay) },
    traps("TCPSocket.startTransaction()") { $0.socket.startTransaction() },
    traps("TCPSocket.stateChanged") { _ = $0.socket.stateChanged },
    traps("TCPSocket.takePermit()") { _ = $0.socket.takePermit() },
    traps("TCPSocket.waitForBytesWritten(msec:)") { _ = $0.socket.waitForBytesWritten(msec: 0) },
    traps("TCPSocket.waitForConnected(msec:)") { _ = $0.socket.waitForConnected(msec: 0) },
    traps("TCPSocket.waitForDisconnected(msec:)") { _ = $0.socket.waitForDisconnected(msec: 0) },
    traps("TCPSocket.waitForReadyRead(msec:)") { _ = $0.socket.waitForReadyRead(msec: 0) },
  ]
  + setting("TCPSocket.deliveryTimeout", { $0.socket }, \.deliveryTimeout, .seconds(1))
  + setting("TCPSocket.proxy", { $0.socket }, \.proxy, .none)
  + setting("TCPSocket.readBufferSize", { $0.socket }, \.readBufferSize, 1)
  + setting("TCPSocket.writeBufferLimit", { $0.socket }, \.writeBufferLimit, WriteBufferLimit())
  + setting("TCPSocket.writeHighWaterMark", { $0.socket }, \.writeHighWaterMark, 1)
  + setting("TCPSocket.writeLowWaterMark", { $0.socket }, \.writeLowWaterMark, 1)

private let waitingSocketMembers: [Member] = [
  hops("TCPSocket.Bytes.Iterator.next()") {
    var iterator = $0.socket.bytes.makeAsyncIterator()
    _ = try await iterator.next()
  },
  hops("TCPSocket.Bytes.Iterator.next(isolation:)") {
    var iterator = $0.socket.bytes.makeAsyncIterator()
    _ = try await iterator.next(isolation: nil)
  },
  hops("TCPSocket.Lines.next()") {
    var iterator = $0.socket.lines.makeAsyncIterator()
    _ = try await iterator.next()
  },
  hops("TCPSocket.Lines.next(isolation:)") {
    var iterator = $0.socket.lines.makeAsyncIterator()
    _ = try await iterator.next(isolation: nil)
  },
  hops("TCPSocket.closeGracefully(timeout:)") { _ = await $0.socket.closeGracefully() },
  hops("TCPSocket.connect(path:timeout:)") { try? await $0.fresh.connect(path: "") },
  hops("TCPSocket.connect(to:port:timeout:)") { try await $0.fresh.connect(to: "127.0.0.1", port: $0.port) },
  hops("TCPSocket.connect(to:port:timeout:)") { try await $0.fresh.connect(to: .localHost, port: $0.port) },
  hops("TCPSocket.read(exactly:timeout:)") { _ = try await $0.socket.read(exactly: 2) },
  hops("TCPSocket.read(into:timeout:)") { scene in
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4, alignment: 1)
    defer { unsafe memory.deallocate() }
    _ = unsafe try await scene.socket.read(into: memory)
  },
  hops("TCPSocket.read(maxLength:timeout:)") { _ = try await $0.socket.read(maxLength: 2) },
  hops("TCPSocket.read(until:maxLength:timeout:)") { _ = try await $0.socket.read(until: "\n".utf8) },
  hops("TCPSocket.read(upTo:timeout:_:)") { scene in
    let synchronous: (RawSpan) -> Int = { $0.byteCount }
    _ = try await scene.socket.read(upTo: 2, synchronous)
  },
  hops("TCPSocket.read(upTo:timeout:_:)") { scene in
    _ = try await scene.socket.read(upTo: 2) { bytes in
      await Task.yield()
      return bytes.byteCount
    }
  },
  hops("TCPSocket.readLine(maxLength:timeout:)") { _ = try await $0.socket.readLine() },
  hops("TCPSocket.relay(with:idleTimeout:)") { scene in
    let other = try scene.incoming.socket(on: scene.base)
    let relaying = Task { try await scene.socket.relay(with: other) }
    relaying.cancel()
    _ = await relaying.result
  },
  hops("TCPSocket.waitForMessage(timeout:)") { _ = try await $0.socket.waitForMessage() },
  hops("TCPSocket.waitUntilPeerEnded()") { try await $0.socket.waitUntilPeerEnded() },
  hops("TCPSocket.waitUntilWritable(timeout:)") { try await $0.socket.waitUntilWritable() },
  hops("TCPSocket.waitUntilWritten(timeout:)") { try await $0.socket.waitUntilWritten() },
  hops("TCPSocket.write(_:timeout:)") { try await $0.socket.write([1]) },
  hops("TCPSocket.write(_:timeout:)") { try await $0.socket.write([1][...]) },
  hops("TCPSocket.write(_:timeout:)") { scene in
    let bytes: [UInt8] = [1]
    _ = try await unsafe scene.socket.write(bytes.span.bytes)
  },
  hops("TCPSocket.write(_:timeout:)") { try await $0.socket.write("text") },
  hops("TCPSocket.write(pieces:timeout:)") { try await $0.socket.write(pieces: [[1], [2]]) },
]

private let orderingSocketMembers: [Member] = [
  posts("TCPSocket.abort()", { $0.socket.abort() }, until: { $0.socket.state == .unconnected }),
  posts("TCPSocket.close()", { $0.socket.close() }, until: { $0.socket.state == .unconnected }),
  posts("TCPSocket.disconnectFromHost()", { $0.socket.disconnectFromHost() }) {
    $0.socket.state == .unconnected
  },
  posts("TCPSocket.connectToHost(_:port:)", { $0.fresh.connectToHost("127.0.0.1", port: $0.port) }) {
    $0.fresh.state == .connected
  },
  posts("TCPSocket.connectToServer(path:)", { $0.fresh.connectToServer(path: "/") }) {
    $0.fresh.state != .unconnected || $0.fresh.error != .unknown
  },
  posts("TCPSocket.connectToHost(_:port:)", { $0.fresh.connectToHost(.localHost, port: $0.port) }) {
    $0.fresh.state == .connected
  },
  posts("TCPSocket.finishWriting()", { $0.socket.finishWriting() }, until: { $0.socket.write("x") < 0 }),
  posts(
    "TCPSocket.write(_:)",
    { scene in
      let bytes: [UInt8] = [1]
      unsafe bytes.withUnsafeBytes { unsafe _ = scene.socket.write($0) }
    },
    until: { $0.hasArrived }
  ),
  posts("TCPSocket.write(_:)", { $0.socket.write([1] as [UInt8]) }, until: { $0.hasArrived }),
  posts(
    "TCPSocket.write(_:)",
    { scene in
      let bytes: [UInt8] = [1]
      _ = unsafe scene.socket.write(bytes.span.bytes)
    },
    until: { $0.hasArrived }
  ),
  posts("TCPSocket.write(_:)", { $0.socket.write([1][...]) }, until: { $0.hasArrived }),
  posts("TCPSocket.write(_:)", { $0.socket.write("text") }, until: { $0.hasArrived }),
  posts(
    "TCPSocket.sendProxyHeader(_:)",
    { _ = try? $0.socket.sendProxyHeader(.local) },
    until: { $0.hasArrived }
  ),
  posts("TCPSocket.write(pieces:)", { $0.socket.write(pieces: [[1], [2]]) }, until: { $0.hasArrived }),
]

// MARK: - TCPServer

private let serverMembers: [Member] = [
  anywhere("TCPServer.init(eventBase:)") { _ = TCPServer(eventBase: $0.base) },
  anywhere("TCPServer.eventBase") { _ = $0.server.eventBase },
  anywhere("TCPServer.newConnection") { _ = $0.server.newConnection },
  anywhere("TCPServer.acceptError") { _ = $0.server.acceptError },
  anywhere("TCPServer.connectionRejected") { _ = $0.server.connectionRejected },
  anywhere("TCPServer.serverAddressChanged") { _ = $0.server.serverAddressChanged },
  anywhere("TCPServer.incomingConnections") { _ = $0.server.incomingConnections },
  anywhere("IncomingConnections.makeAsyncIterator()") {
    _ = $0.server.incomingConnections.makeAsyncIterator()
  },
  hops("IncomingConnections.Iterator.next()") {
    var iterator = $0.server.incomingConnections.makeAsyncIterator()
    _ = try await iterator.next()
  },
  hops("IncomingConnections.Iterator.next(isolation:)") {
    var iterator = $0.server.incomingConnections.makeAsyncIterator()
    _ = try await iterator.next(isolation: nil)
  },
  hops("TCPServer.accept()") { _ = try await $0.server.accept() },
  hops("TCPServer.serve(maxConnections:shutdown:onError:handler:)") {
    let server = TCPServer(eventBase: $0.base)
    try await server.startListening(address: .localHost)
    $0.shutdown.begin()
    _ = try await server.serve(shutdown: $0.shutdown) { _ in }
  },
  hops("TCPServer.snapshot(listing:patience:)") { _ = await $0.server.snapshot() },
  hops("TCPServer.withMonitors(_:shutdown:_:)") { try await $0.server.withMonitors([]) { ServingReport() } },
  hops("TCPServer.startListening(address:port:)") {
    try await TCPServer(eventBase: $0.base).startListening(address: .localHost)
  },
  hops("TCPServer.waitUntilConnectionsEnded(timeout:)") {
    _ = try await $0.server.waitUntilConnectionsEnded(timeout: .zero)
  },
  posts("TCPServer.close()", { $0.server.close() }, until: { !$0.server.isListening }),
  posts("TCPServer.finish()", { $0.server.finish() }, until: { !$0.server.isListening }),
  posts(
    "TCPServer.finish(on:)",
    {
      $0.shutdown.begin()
      $0.server.finish(on: $0.shutdown)
    },
    until: { !$0.server.isListening }
  ),
  posts(
    "TCPServer.pauseAccepting()",
    { $0.server.pauseAccepting() },
    until: { scene in
      // Not accepted, but left in the kernel's queue.
      if scene.server.statistics.acceptQueue == 0 { scene.knock() }
      return scene.server.statistics.acceptQueue > 0
    }
  ),
  posts(
    "TCPServer.resumeAccepting()",
    { $0.server.resumeAccepting() },
    after: {
      $0.server.pauseAccepting()
      $0.knock()
    },
    until: { $0.server.statistics.accepted == 3 }
  ),
  traps("TCPServer.addPendingConnection(_:)") { $0.server.addPendingConnection($0.fresh) },
  traps("TCPServer.descriptorHeadroom") { _ = $0.server.descriptorHeadroom },
  traps("TCPServer.diagnose()") { _ = $0.server.diagnose() },
  traps("TCPServer.errorString") { _ = $0.server.errorString },
  traps("TCPServer.hasPendingConnections") { _ = $0.server.hasPendingConnections },
  traps("TCPServer.incomingConnection(_:)") { $0.server.incomingConnection(-1) },
  traps("TCPServer.incomingPeer") { _ = $0.server.incomingPeer },
  traps("TCPServer.incomingProxied") { _ = $0.server.incomingProxied },
  traps("TCPServer.isListening") { _ = $0.server.isListening },
  traps("TCPServer.listen(path:permissions:removingStale:)") { _ = $0.server.listen(path: "") },
  traps("TCPServer.serverPath") { _ = $0.server.serverPath },
  traps("TCPServer.listen(address:port:)") { _ = $0.server.listen(address: .localHost) },
  traps("TCPServer.listen(on:)") { _ = $0.server.listen(on: .address(.localHost, port: 0)) },
  traps("TCPServer.nextPendingConnection()") { _ = $0.server.nextPendingConnection() },
  traps("TCPServer.pendingConnectionAvailable") { _ = $0.server.pendingConnectionAvailable },
  traps("TCPServer.proxyBindings") { _ = $0.server.proxyBindings },
  traps("TCPServer.runUntilConnectionsEnded(timeout:)") {
    _ = $0.server.runUntilConnectionsEnded(timeout: .zero)
  },
  traps("TCPServer.serverAddress") { _ = $0.server.serverAddress },
  traps("TCPServer.serverError") { _ = $0.server.serverError },
  traps("TCPServer.serverPort") { _ = $0.server.serverPort },
  traps("TCPServer.setSocketDescriptor(_:)") { _ = $0.server.setSocketDescriptor(-1) },
  traps("TCPServer.setSocketOption(_:_:)") { _ = $0.server.setSocketOption(.lowDelay, 1) },
  traps("TCPServer.socketDescriptor") { _ = $0.server.socketDescriptor },
  traps("TCPServer.socketOption(_:)") { _ = $0.server.socketOption(.lowDelay) },
  traps("TCPServer.statistics") { _ = $0.server.statistics },
  traps("TCPServer.takeIncomingPermit()") { _ = $0.server.takeIncomingPermit() },
  traps("TCPServer.waitForNewConnection(msec:timedOut:)") { _ = $0.server.waitForNewConnection() },
]

private let serverSettings: [Member] =
  [
    traps("TCPServer.admissionHandler") { _ = $0.server.admissionHandler },
    traps("TCPServer.admissionHandler =") { $0.server.admissionHandler = nil },
    traps("TCPServer.proxyHeaderRequirement") { _ = $0.server.proxyHeaderRequirement },
    traps("TCPServer.proxyHeaderRequirement =") { $0.server.proxyHeaderRequirement = nil },
    traps("TCPServer.socketPreparation") { _ = $0.server.socketPreparation },
    traps("TCPServer.socketPreparation =") { $0.server.socketPreparation = nil },
  ]
  + setting("TCPServer.acceptBatchSize", { $0.server }, \.acceptBatchSize, 1)
  + setting("TCPServer.connectionPolicy", { $0.server }, \.connectionPolicy, ConnectionPolicy())
  + setting("TCPServer.deliveryTimeout", { $0.server }, \.deliveryTimeout, .seconds(1))
  + setting("TCPServer.descriptorReserve", { $0.server }, \.descriptorReserve, 1)
  + setting("TCPServer.excessConnectionPolicy", { $0.server }, \.excessConnectionPolicy, .wait)
  + setting("TCPServer.expectedDescriptors", { $0.server }, \.expectedDescriptors, 1)
  + setting("TCPServer.listenBacklogSize", { $0.server }, \.listenBacklogSize, 1)
  + setting("TCPServer.maxConnections", { $0.server }, \.maxConnections, 1)
  + setting("TCPServer.maxPendingConnections", { $0.server }, \.maxPendingConnections, 1)
  + setting("TCPServer.maxPrefaces", { $0.server }, \.maxPrefaces, 1)
  + setting("TCPServer.acceptRate", { $0.server }, \.acceptRate, nil)
  + setting("TCPServer.sourceLimits", { $0.server }, \.sourceLimits, nil)
  + setting("TCPServer.overloadPolicy", { $0.server }, \.overloadPolicy, .wait)
  + setting("TCPServer.recordsConnectionAges", { $0.server }, \.recordsConnectionAges, true)
  + setting("TCPServer.proxy", { $0.server }, \.proxy, .none)
  + setting("TCPServer.proxyListenOptions", { $0.server }, \.proxyListenOptions, ProxyListenOptions())

// MARK: - What accepting and shutting down give

private let otherMembers: [Member] =
  [
    anywhere("IncomingConnection.peerAddress") { _ = $0.incoming.peerAddress },
    anywhere("IncomingConnection.peerPort") { _ = $0.incoming.peerPort },
    anywhere("IncomingConnection.proxied") { _ = $0.incoming.proxied },
    anywhere("IncomingConnection.socket(on:)") { _ = try $0.incoming.socket(on: $0.base) },
    anywhere("IncomingConnection.takeDescriptor()") { close($0.incoming.takeDescriptor()) },
    anywhere("IncomingConnection.takePermit()") { _ = $0.incoming.takePermit() },
    anywhere("ConnectionPermit.release()") { $0.permit.release() },
    anywhere("GracefulShutdown.idleTime") { _ in _ = GracefulShutdown().idleTime },
    anywhere("GracefulShutdown.init(idleTime:)") { _ in _ = GracefulShutdown() },
    anywhere("GracefulShutdown.current") { _ in _ = GracefulShutdown.current },
    anywhere("GracefulShutdown.begin(delay:timeout:)") { $0.shutdown.begin() },
    anywhere("GracefulShutdown.beginOnSignals(_:delay:timeout:eventBase:)") {
      $0.shutdown.beginOnSignals(SIGUSR1, eventBase: $0.base)
    },
    anywhere("GracefulShutdown.isAnnounced") { _ = $0.shutdown.isAnnounced },
    anywhere("GracefulShutdown.hasBegun") { _ = $0.shutdown.hasBegun },
    anywhereAwaited("GracefulShutdown.waitUntilAnnounced()") {
      $0.shutdown.begin()
      await $0.shutdown.waitUntilAnnounced()
    },
    anywhereAwaited("GracefulShutdown.waitUntilBegun()") {
      $0.shutdown.begin()
      await $0.shutdown.waitUntilBegun()
    },
    anywhereAwaited("GracefulShutdown.waitUntilDeadline()") {
      $0.shutdown.begin(timeout: .zero)
      await $0.shutdown.waitUntilDeadline()
    },
  ] + baseMembers + groupMembers + timerMembers + signalMembers + serviceMembers

private let twoThreads = "An EventBase was run by a thread while another runs it."

private let baseMembers: [Member] = [
  anywhere("EventBase.init()") { _ in _ = try EventBase() },
  anywhere("EventBase.init(adopting:)") { _ in
    guard let base = unsafe event_base_new() else { return }
    _ = unsafe try EventBase(adopting: base)
  },
  anywhere("EventBase.current") { _ in _ = EventBase.current },
  anywhere("EventBase.stop()") { $0.base.stop() },
  anywhere("EventBase.stopOnSignals(_:)") { $0.base.stopOnSignals(SIGUSR1) },
  anywhere("EventBase.taskExecutor") { _ = $0.base.taskExecutor },
  anywhere("EventBase.serialExecutor") { _ = $0.base.serialExecutor },
  anywhere("EventBase.statistics") { _ = $0.base.statistics },
  anywhereAwaited("EventBase.withThread(_:)") { _ in try await EventBase.withThread { _ in } },
  hops("EventBase.sleep(for:)") { try await $0.base.sleep(for: .zero) },
  posts("EventBase.execute(_:)", { scene in scene.base.execute { scene.timer.start() } }) {
    $0.timer.isActive
  },
  posts(
    "EventBase.schedule(after:_:)",
    { scene in scene.base.schedule(after: .zero) { scene.timer.start() } }
  ) {
    $0.timer.isActive
  },
  traps("EventBase.run()", text: twoThreads) { $0.base.run() },
  traps("EventBase.run(_:)", text: twoThreads) { try $0.base.run {} },
  traps("EventBase.runOnce(timeout:)", text: twoThreads) { $0.base.runOnce(timeout: .zero) },
]

/// A group that listens, looked at from a thread that is none of its loops'.
private func ofGroup(
  _ name: String,
  _ threadClass: ThreadClass = .anywhere,
  _ call: @escaping @Sendable (TCPServerGroup) async throws -> Void
) -> Member {
  let called: @Sendable (Scene) async throws -> Void = { _ in
    try await EventBaseGroup.withThreads(loops: 1) { loops in
      let group = TCPServerGroup(on: loops)
      try await group.listen(address: .localHost)
      try await withTaskExecutorPreference(globalConcurrentExecutor) { try await call(group) }
    }
  }
  return Member(name: name, threadClass: threadClass, call: .async(called))
}

/// A group's server as its monitors see it.
private func ofMonitored(
  _ name: String,
  _ threadClass: ThreadClass = .anywhere,
  _ call: @escaping @Sendable (MonitoredServer) async -> Void
) -> Member {
  ofGroup(name, threadClass) { group in
    try await group.withMonitors([CallingMonitor(call: call)]) { ServingReport() }
  }
}

private struct CallingMonitor: ServerMonitor {
  let call: @Sendable (MonitoredServer) async -> Void

  func monitor(_ server: MonitoredServer) async {
    await call(server)
  }
}

private let groupMembers: [Member] = [
  ofMonitored("ServerMonitor.monitor(_:)") { _ in },
  ofMonitored("MonitoredServer.serverAddress") { _ = $0.serverAddress },
  ofMonitored("MonitoredServer.serverPort") { _ = $0.serverPort },
  ofMonitored("MonitoredServer.serverPath") { _ = $0.serverPath },
  ofMonitored("MonitoredServer.shutdown") { _ = $0.shutdown },
  ofMonitored("MonitoredServer.result") { _ = $0.result },
  ofMonitored("MonitoredServer.statistics()") { _ = await $0.statistics() },
  ofGroup("TCPServerGroup.withMonitors(_:shutdown:_:)", .hops) {
    try await $0.withMonitors([]) { ServingReport() }
  },
  anywhere("EventBaseGroup.run(loops:pinning:accepting:_:)") { _ in try EventBaseGroup.run(loops: 1) { _ in }
  },
  anywhereAwaited("EventBaseGroup.withThreads(loops:pinning:accepting:_:)") { _ in
    try await EventBaseGroup.withThreads(loops: 1) { _ in }
  },
  ofGroup("EventBaseGroup.eventBases") { _ = $0.eventBases.eventBases },
  ofGroup("EventBaseGroup.acceptingEventBase") { _ = $0.eventBases.acceptingEventBase },
  ofGroup("TCPServerGroup.init(on:distribution:stallLimit:configure:)") {
    _ = TCPServerGroup(on: $0.eventBases)
  },
  ofGroup("TCPServerGroup.init(on:distribution:stallLimit:make:)") {
    _ = TCPServerGroup(on: $0.eventBases) { TCPServer(eventBase: $0) }
  },
  ofGroup("TCPServerGroup.connectionPolicy") { _ = $0.connectionPolicy },
  ofGroup("TCPServerGroup.connectionPolicy =") { $0.connectionPolicy = ConnectionPolicy() },
  ofGroup("TCPServerGroup.eventBases") { _ = $0.eventBases },
  ofGroup("TCPServerGroup.listen(address:port:)", .hops) {
    try await TCPServerGroup(on: $0.eventBases).listen(address: .localHost)
  },
  ofGroup("TCPServerGroup.listen(path:permissions:removingStale:)", .hops) { try? await $0.listen(path: "") },
  ofGroup("TCPServerGroup.serverPath") { _ = $0.serverPath },
  ofGroup("TCPServerGroup.listen(on:)", .hops) {
    try await TCPServerGroup(on: $0.eventBases).listen(on: .address(.localHost, port: 0))
  },
  ofGroup("TCPServerGroup.setSocketDescriptor(_:)", .hops) { try? await $0.setSocketDescriptor(-1) },
  ofGroup("TCPServerGroup.setSocketDescriptors(_:)", .hops) { try? await $0.setSocketDescriptors([-1]) },
  ofGroup("TCPServerGroup.pauseAccepting()") { $0.pauseAccepting() },
  ofGroup("TCPServerGroup.resumeAccepting()") { $0.resumeAccepting() },
  ofGroup("TCPServerGroup.errorString") { _ = $0.errorString },
  ofGroup("TCPServerGroup.isListening") { _ = $0.isListening },
  ofGroup("TCPServerGroup.serverAddress") { _ = $0.serverAddress },
  ofGroup("TCPServerGroup.serverPort") { _ = $0.serverPort },
  ofGroup("TCPServerGroup.close()") { $0.close() },
  ofGroup("TCPServerGroup.finish()") { $0.finish() },
  ofGroup("TCPServerGroup.diagnose()", .hops) { _ = try await $0.diagnose() },
  ofGroup("TCPServerGroup.snapshot(listing:patience:)", .hops) { _ = await $0.snapshot() },
  ofGroup("TCPServerGroup.statistics") { _ = $0.statistics },
  ofGroup("TCPServerGroup.statisticsByLoop") { _ = $0.statisticsByLoop },
  ofGroup("TCPServerGroup.withServers(_:)", .hops) { try await $0.withServers { _, _ in } },
  ofGroup("TCPServerGroup.withAcceptor(_:)", .hops) { try await $0.withAcceptor { _ in } },
  ofGroup("TCPServerGroup.serve(maxConnections:shutdown:onError:handler:)", .hops) {
    let shutdown = GracefulShutdown()
    shutdown.begin(timeout: .zero)
    _ = try await $0.serve(shutdown: shutdown) { _ in }
  },
]

private let timerMembers: [Member] =
  [
    anywhere("EventTimer.init(interval:isSingleShot:eventBase:)") {
      _ = EventTimer(interval: .zero, eventBase: $0.base)
    },
    anywhere("EventTimer.timeout") { _ = $0.timer.timeout },
    traps("EventTimer.isActive") { _ = $0.timer.isActive },
    posts("EventTimer.start()", { $0.timer.start() }, until: { $0.timer.isActive }),
    posts(
      "EventTimer.stop()",
      { $0.timer.stop() },
      after: { $0.timer.start() },
      until: { !$0.timer.isActive }
    ),
  ]
  + setting("EventTimer.interval", { $0.timer }, \.interval, .seconds(1))
  + setting("EventTimer.isSingleShot", { $0.timer }, \.isSingleShot, true)

private let signalMembers: [Member] = [
  anywhere("Signal.init(eventBase:)") { _ = Signal<Int>(eventBase: $0.base) },
  traps("Signal.isConnected") { _ = $0.signal.isConnected },
  traps("Signal.connect(isolation:_:)", text: connectText) { $0.signal.connect { _ in } },
  traps("Signal.connect(isolation:_:)", text: connectText) { $0.plainSignal.connect {} },
  traps("Signal.disconnect(_:)") { $0.signal.disconnect($0.connection) },
  traps("Signal.disconnectAll()") { $0.signal.disconnectAll() },
  traps("Signal.emit(_:)") { $0.signal.emit(1) },
  traps("Signal.emit()", text: "Signal.emit(_:) was called on another thread") { $0.plainSignal.emit() },
]
