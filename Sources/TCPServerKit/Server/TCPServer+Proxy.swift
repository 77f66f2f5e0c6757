// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Listening through a proxy: what a server knows of it.
extension TCPServer {
  /// Which proxy the server listens through, from the next ``listen(address:port:)`` on.
  ///
  /// ``NetworkProxy/default`` at first, which is no proxy unless the application sets one: neither the
  /// environment nor the system is ever asked. An address of this machine's own (loopback) needs no proxy and
  /// uses none.
  public final var proxy: NetworkProxy {
    get {
      requireLoopThread("TCPServer.proxy")
      return ownProxy
    }
    set {
      requireLoopThread("TCPServer.proxy")
      ownProxy = newValue
    }
  }

  /// How the server behaves when it listens through a proxy, from the next ``listen(address:port:)`` on.
  public final var proxyListenOptions: ProxyListenOptions {
    get {
      requireLoopThread("TCPServer.proxyListenOptions")
      return listenOptions
    }
    set {
      requireLoopThread("TCPServer.proxyListenOptions")
      listenOptions = newValue
    }
  }

  /// Where the proxy listens for this server: one place for each request that is open there now. Empty for a server
  /// that listens without a proxy, and while the proxy is being asked again.
  public final var proxyBindings: [ProxyBinding] {
    requireLoopThread("TCPServer.proxyBindings")
    return proxyListener?.bindings ?? []
  }

  /// Listens as ``listen(address:port:)`` does; where that would block to ask a proxy, suspends instead.
  ///
  /// - Throws: why it failed; ``serverError`` and ``errorString`` then say the same, and nothing is left open.
  ///   ``SocketError/operation`` where the server was closed meanwhile.
  ///
  /// ## Cancellation
  ///
  /// Gives the attempt up and throws `CancellationError`; nothing is left open.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public final func startListening(
    address: HostAddress = .any,
    port: UInt16 = 0
  ) async throws {
    guard let engine = eventBase?.engine else {
      throw failWithoutLoop("startListening()")
    }
    try await engine.run { try await self.startListening(address, port, engine) }
  }

  private final func startListening(_ address: HostAddress, _ port: UInt16, _ engine: EventEngine)
    async throws
  {
    let listener: ProxyListener
    switch prepareListening(address, port) {
    case .direct:
      guard listenDirectly(address, port) else { throw serverError }
      return
    case .refused(let error):
      throw error
    case .through(let prepared):
      listener = prepared
    }
    let waiter = listener.starting.add()
    listener.begin()
    let reason = await engine.suspend(on: waiter)
    listener.starting.remove(waiter)
    guard reason != .cancelled else {
      endListening(listener)
      fail(.unfinishedSocketOperation, "The task was cancelled")
      throw CancellationError()
    }
    if let error = failedToStart(listener) {
      throw error
    }
  }

  // MARK: - For listen()

  enum Preparation {
    case direct
    case refused(SocketError)
    case through(ProxyListener)
  }

  func prepareListening(_ address: HostAddress, _ port: UInt16) -> Preparation {
    guard !isMember else { return .refused(failAsMember()) }
    guard proxyListener == nil else {
      return .refused(fail(.operation, "listen() called when already listening"))
    }
    forgetLastEnd()
    // The core refuses both, with its own errors.
    guard !isListening, !address.isNull else { return .direct }
    let query = NetworkProxyQuery(serverOn: port)
    switch ProxyRoute.find(for: query, own: ownProxy, isLoopback: address.isLoopback) {
    case .direct:
      return .direct
    case .impossible(let failure):
      return .refused(fail(failure))
    case .through(let route):
      let family: HostAddress = address.isIPv6 && address.ipv4 == nil ? .anyIPv6 : .anyIPv4
      let requested = SocketAddress(host: family, port: port)
      let listener = ProxyListener(for: self, through: route, on: requested, listenOptions)
      proxyListener = listener
      serverCore.onRoom = { [weak self] in self?.proxyListener?.roomChanged() }
      return .through(listener)
    }
  }

  func listen(through listener: ProxyListener) -> Bool {
    listener.beginAndWait()
    return failedToStart(listener) == nil
  }

  /// The error of a listener that does not listen, which is gone then.
  private func failedToStart(_ listener: ProxyListener) -> SocketError? {
    guard !listener.isListening else { return nil }
    endListening(listener)
    return fail(
      listener.startFailure ?? Failure(.operation, "The server was closed before the proxy had answered")
    )
  }

  private func endListening(_ listener: ProxyListener) {
    listener.close()
    if proxyListener === listener {
      proxyListener = nil
    }
  }

  // MARK: - For the listener

  var hasRoomForPending: Bool {
    let now = statistics
    let waits = excessConnectionPolicy == .wait
    return now.pending < UInt64(clamping: maxPendingConnections)
      && (!waits || now.live < maxConnections.map { UInt64(clamping: $0) } ?? .max)
  }

  /// The same way in as the kernel's connections have.
  func takeFromProxy(_ connection: csc_connection) {
    var connection = connection
    for (option, value) in options {
      _ = option.set(value, for: connection.descriptor)
    }
    if unsafe !csc_server_inject(core, &connection) {
      SystemCalls.closeDescriptor(connection.descriptor)
      announceError(serverError)
    }
  }

  func reportProxyFailure(_ failure: Failure) {
    fail(failure)
    announceError(failure.error)
  }

  /// Its last request has ended; with a failure, it broke.
  func proxyListenerEnded(_ listener: ProxyListener, because failure: Failure?) {
    guard proxyListener === listener else { return }
    proxyListener = nil
    hasEnded = true
    if let failure {
      reportProxyFailure(failure)
    } else {
      serverCore.acceptWaiters.wakeAll()
    }
  }

  // MARK: - Waiting

  func wait(
    for listener: ProxyListener,
    until deadline: ContinuousClock.Instant?,
    _ timedOut: UnsafeMutablePointer<Bool>?
  ) -> Bool {
    guard listener.isListening else { return false }
    unsafe timedOut?.pointee = false
    switch listener.wait(until: deadline) {
    case .delivered:
      return true
    case .failed:
      return false
    case .nested:
      fail(.operation, "waitForNewConnection() called from within itself too often")
      return false
    case .timedOut:
      unsafe timedOut?.pointee = true
      fail(.timedOut)
      return false
    }
  }
}
