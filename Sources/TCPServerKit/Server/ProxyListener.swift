// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// A server's listening through a SOCKS5 proxy: its open requests there, and their results.
///
/// The server owns it, and ends it by ``close()`` before it goes itself; a handler may do so at any time, so after
/// each call into the server `isClosed` is looked at.
final class ProxyListener {
  private unowned let server: TCPServer
  private let engine: EventEngine?
  private let route: ProxyRoute
  private let requested: SocketAddress
  private let settings: ProxyListenOptions
  private var requests: [BindRequest] = []
  private var lastBinding: ProxyBinding?
  /// Where the proxy was reached last: its name is looked up again only after it was lost.
  private var proxyAddress: HostAddress?
  private var isClosed = false
  /// The first reply to the first request was good: the server listens.
  private(set) var isListening = false
  /// Why it never came to that.
  private(set) var startFailure: Failure?
  /// A failure was reported, and not all requests have been open at once since.
  private var isInEpisode = false
  private var deliveries = 0
  private var reports = 0
  private var waits = 0
  private var ignoresLimits = false
  private var isDeliveryDue = false
  /// The task that waits until it is known whether the server listens.
  let starting = WaiterQueue()

  private static let deepestWait = 16

  init(
    for server: TCPServer,
    through route: ProxyRoute,
    on requested: SocketAddress,
    _ settings: ProxyListenOptions
  ) {
    self.server = server
    engine = server.eventBase?.engine
    self.route = route
    self.requested = requested
    self.settings = settings
  }

  // MARK: - What the server calls

  var bindings: [ProxyBinding] {
    requests.filter(\.isBound).compactMap(\.binding)
  }

  /// The first of them; the last there was while there is none.
  var binding: ProxyBinding? {
    isListening ? bindings.first ?? lastBinding : nil
  }

  var socketDescriptor: CInt {
    requests.first { $0.isBound }?.connection?.descriptor ?? -1
  }

  // MARK: - Starting

  /// Begins without waiting: ``starting`` is woken, or ``isListening`` and ``startFailure`` have the result.
  func begin() {
    let first = BindRequest()
    requests = [first]
    begin(first)
  }

  /// Waits until the proxy has answered, without running the loop.
  func beginAndWait() {
    begin()
    while !isListening && startFailure == nil && !isClosed {
      step()
    }
  }

  /// The others come once the first is open: a proxy that does not work is asked once.
  private func didStart() {
    isListening = true
    for _ in 1..<max(settings.simultaneousBindings, 1) {
      requests.append(BindRequest())
    }
    starting.wakeAll()
    for request in requests where request.isIdle && !isClosed {
      begin(request)
    }
  }

  // MARK: - Requests

  private func begin(_ request: BindRequest) {
    guard !isClosed else { return }
    request.begin(through: route, at: proxyAddress, port: requested.port, settings, requested.host)
    advance(request)
  }

  private func startTimer(of request: BindRequest) {
    request.startTimer(engine) { [weak self, weak request] in
      if let self, let request { self.timeIsUp(for: request) }
    }
  }

  /// Its attempt has taken too long, or its back-off is over.
  private func timeIsUp(for request: BindRequest) {
    guard !isClosed else { return }
    if request.isIdle {
      begin(request)
    } else {
      request.forgetDeadline()
      advance(request)
    }
  }

  private func advance(_ request: BindRequest) {
    guard !isClosed, let connection = request.connection, !request.hasArrived else { return }
    request.stopWatching()
    handle(connection.advance(), of: request)
  }

  private func handle(_ progress: ProxyConnection.Progress, of request: BindRequest) {
    switch progress {
    case .waiting:
      if request.updateDeadline() { startTimer(of: request) }
    case .bound(let address):
      return didBind(request, ProxyBinding(address: address.host, port: address.port))
    case .arrived(let peer):
      if let expected = settings.onlyPeer, expected != peer.host {
        let text = "The proxy passed on \(peer.host), not the peer that is expected"
        return failed(request, route.naming(Failure(.proxyProtocol, text)))
      }
      request.didArrive(peer.core)
      return deliverIfAllowed(request)
    case .connected:
      break
    case .failed(let failure):
      return failed(request, failure)
    }
    watch(request)
  }

  private func watch(_ request: BindRequest) {
    let isWatched = request.updateWatch(engine) { [weak self, weak request] in
      if let self, let request { self.advance(request) }
    }
    if !isWatched {
      failed(request, .outOfResources)
    }
  }

  private func didBind(_ request: BindRequest, _ binding: ProxyBinding) {
    let hasMoved = isListening && request.binding != nil && request.binding != binding
    request.didBind(binding)
    lastBinding = binding
    proxyAddress = request.connection?.proxyAddress
    if requests.allSatisfy(\.isBound) {
      isInEpisode = false
    }
    // The peer may be there already. It is reported on the next turn: no program expects that from within listen().
    watch(request)
    guard !isClosed, request.isBound else { return }
    if !isListening {
      didStart()
    } else if hasMoved {
      server.serverAddressChanged.notify()
    }
  }

  private func failed(_ request: BindRequest, _ failure: Failure) {
    let mayBeThePort = request.asksForSamePort && !request.isBound && Self.isRefusal(failure.error)
    request.stop()
    guard isListening else {
      startFailure = failure
      starting.wakeAll()
      return
    }
    if mayBeThePort {
      request.asksForAnyPort = true
      return begin(request)
    }
    reports += 1
    proxyAddress = nil
    guard settings.rebinds else {
      return end(request, because: failure)
    }
    if server.overloadPolicy != .strict {
      request.backOff()
      startTimer(of: request)
    }
    if !isInEpisode {
      isInEpisode = true
      server.reportProxyFailure(failure)
    }
  }

  /// Whether the proxy has answered, and said no.
  private static func isRefusal(_ error: SocketError) -> Bool {
    switch error {
    case .socketTimeout, .socketResource, .proxyConnectionRefused, .proxyConnectionClosed, .proxyNotFound,
      .proxyAuthenticationRequired, .proxyProtocol:
      false
    default:
      true
    }
  }

  /// It is over for good, and with the last one the server stops listening.
  private func end(_ request: BindRequest, because failure: Failure? = nil) {
    requests.removeAll { $0 === request }
    if requests.isEmpty {
      close()
      server.proxyListenerEnded(self, because: failure)
    } else if let failure {
      server.reportProxyFailure(failure)
    }
  }

  // MARK: - Delivering

  private var mayDeliver: Bool {
    if ignoresLimits { return true }
    return (waits > 0 || !server.isPaused) && server.hasRoomForPending
  }

  private func deliverIfAllowed(_ request: BindRequest) {
    guard !isClosed, mayDeliver, let connection = request.takeArrived() else { return }
    // Before the program is notified: it may wait for the next peer from within its handler.
    if !settings.rebinds {
      end(request)
    } else if !ignoresLimits {
      begin(request)
      // That may have failed, and a handler of the error have closed the server, or let go of it.
      guard !isClosed else { return SystemCalls.closeDescriptor(connection.descriptor) }
    }
    deliveries += 1
    server.takeFromProxy(connection)
  }

  private func deliverArrived() {
    isDeliveryDue = false
    for request in requests where !isClosed {
      deliverIfAllowed(request)
    }
  }

  /// There may be room again, or the server is paused no longer. Not from within the caller's call.
  func roomChanged() {
    guard !isDeliveryDue, let engine, requests.contains(where: \.hasArrived) else { return }
    isDeliveryDue = true
    engine.enqueue { [weak self] in self?.deliverArrived() }
  }

  /// Asks again for what a failure has ended, without the rest of its back-off.
  func resume() {
    isInEpisode = false
    for request in requests where request.isIdle && isListening && !isClosed {
      begin(request)
    }
    roomChanged()
  }

  // MARK: - Waiting without the loop

  enum WaitResult {
    case delivered
    case timedOut
    case failed
    case nested
  }

  func wait(until deadline: ContinuousClock.Instant?) -> WaitResult {
    guard waits < Self.deepestWait else { return .nested }
    waits += 1
    defer { waits -= 1 }
    let (deliveriesBefore, reportsBefore) = (deliveries, reports)
    deliverArrived()
    while deliveries == deliveriesBefore {
      guard !isClosed, reports == reportsBefore, isWaitingForSomething else { return .failed }
      let isLast = deadline.map { $0 <= .now } ?? false
      step(until: deadline)
      if isLast && deliveries == deliveriesBefore && reports == reportsBefore { return .timedOut }
    }
    return .delivered
  }

  /// Not so where failures pause accepting: nothing happens until the program resumes it.
  private var isWaitingForSomething: Bool {
    requests.contains { !$0.isIdle || $0.deadline != nil }
  }

  /// One poll of everything that is open, and whatever it allows.
  private func step(until deadline: ContinuousClock.Instant? = nil) {
    let waiting = requests.filter { !$0.hasArrived }
    let limits = waiting.compactMap(\.deadline) + (deadline.map { [$0] } ?? [])
    _ = SystemCalls.waitForAny(waiting.flatMap { $0.connection?.awaited ?? [] }, until: limits.min())
    for request in waiting where !isClosed {
      if request.isIdle, let limit = request.deadline, ContinuousClock.now >= limit {
        begin(request)
      } else {
        advance(request)
      }
    }
  }

  // MARK: - ShutdownRegistration

  /// Lets in the peers that have come by now, then ends.
  func finish() {
    ignoresLimits = true
    for request in requests where !isClosed {
      advance(request)
      deliverIfAllowed(request)
    }
    close()
  }

  func close() {
    isClosed = true
    isListening = false
    for request in exchange(&requests, with: []) {
      request.stop()
    }
    starting.wakeAll()
  }
}
