// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Connecting to a server: the client's side, as far as a server's tests and examples need one.
extension TCPSocket {
  /// Starts connecting to a host by its name or its address as text.
  ///
  /// A name is looked up on a thread of its own. Its addresses are tried until one answers: the next one, of the other
  /// family first, when one has failed, or has been silent for 250 ms (RFC 8305). ``connected`` or ``errorOccurred``
  /// reports how it ended, or ``waitForConnected(msec:)``.
  public func connectToHost(_ hostName: String, port: UInt16) {
    guard mayTouch else {
      return post("TCPSocket.connectToHost(_:port:)") { $0.connectToHost(hostName, port: port) }
    }
    if let address = HostAddress(hostName: hostName) {
      return connectToHost(address, port: port)
    }
    begin(NetworkProxyQuery(connectingTo: hostName, port: port), nil)
  }

  /// Starts connecting to an address. ``HostAddress/any`` and its kind mean this machine.
  public func connectToHost(_ address: HostAddress, port: UInt16) {
    guard mayTouch else {
      return post("TCPSocket.connectToHost(_:port:)") { $0.connectToHost(address, port: port) }
    }
    let address = address == .any ? .localHost : address.ipv4 ?? address
    begin(NetworkProxyQuery(connectingTo: "\(address)", port: port), address)
  }

  /// Connects to a host by its name or its address as text, and waits for it.
  ///
  /// - Throws: what ``connectToHost(_:port:)-(String,_)`` reports, and ``SocketError/socketTimeout``.
  ///
  /// ## Cancellation
  ///
  /// Gives up the attempt and throws `CancellationError`; the socket is unconnected again.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. A name is looked up on a thread of its own.
  public func connect(to hostName: String, port: UInt16, timeout: Duration? = nil) async throws {
    try await onLoop { socket in
      try await socket.connectAndWait(timeout) { $0.connectToHost(hostName, port: port) }
    }
  }

  /// Connects to an address, and waits for it. ``HostAddress/any`` and its kind mean this machine.
  ///
  /// - Throws: what ``connectToHost(_:port:)-(HostAddress,_)`` reports, and ``SocketError/socketTimeout``.
  ///
  /// ## Cancellation
  ///
  /// Gives up the attempt and throws `CancellationError`; the socket is unconnected again.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func connect(to address: HostAddress, port: UInt16, timeout: Duration? = nil) async throws {
    try await onLoop { socket in
      try await socket.connectAndWait(timeout) { $0.connectToHost(address, port: port) }
    }
  }

  func connectAndWait(_ timeout: Duration?, _ begin: (TCPSocket) -> Void) async throws {
    // As `begin` does, but what its handlers begin is not this call's.
    if flags.contains(.lingering) { becomeUnconnected() }
    guard currentState == .unconnected || currentState == .bound else {
      throw refuseAsync("connect() called when already connected or connecting")
    }
    // An error that is there afterwards is this attempt's.
    let earlier = existingDetails?.failure
    existingDetails?.failure = .none
    begin(self)
    // To a path no socket connects that is bound.
    guard currentState != .bound else { throw lastError }
    if currentState != .connected {
      do {
        try await waitForStateChange(timeout)
      } catch {
        abortHere()
        throw error
      }
    }
    guard currentState == .connected else {
      // Another task has disconnected the socket meanwhile, which is no error of the connection.
      guard lastError != .unknown else { throw refuseAsync("Connecting was given up by this program") }
      throw lastError
    }
    if let earlier, lastError == .unknown { record(earlier) }
  }

  /// Which proxy the socket connects through, from the next ``connectToHost(_:port:)-(String,_)`` on.
  ///
  /// ``NetworkProxy/default`` at first, which is no proxy unless the application sets one. Host names are the
  /// proxy's to look up. An address of this machine's own (loopback) needs no proxy and uses none, and so does the
  /// name `localhost`.
  ///
  /// Through a proxy ``peerAddress`` is the address that was given; ``HostAddress/null`` where that was a name.
  public var proxy: NetworkProxy {
    get {
      requireLoopThread("TCPSocket.proxy")
      return existingDetails?.origin?.proxy ?? .default
    }
    set {
      requireLoopThread("TCPSocket.proxy")
      origin.proxy = newValue
    }
  }

  /// Binds the socket to a local address before it connects.
  ///
  /// - Parameters:
  ///   - address: one of this machine's addresses; ``HostAddress/any`` leaves it to the kernel.
  ///   - port: the local port; 0 lets the kernel choose one, which ``localPort`` returns.
  /// - Returns: true when the socket is ``SocketState/bound``, for the next attempt to connect; false, with the reason in
  ///   ``error``, when the address cannot be had or the socket is in use.
  @discardableResult
  public func bind(address: HostAddress = .any, port: UInt16 = 0) -> Bool {
    requireLoopThread("TCPSocket.bind(address:port:)")
    guard currentState == .unconnected, !address.isNull else {
      record(Failure(.operation, "bind() called on a socket in use, or without an address"))
      return false
    }
    let wanted = SocketAddress(host: address == .any ? .anyIPv4 : address.ipv4 ?? address, port: port)
    do throws(Failure) {
      descriptor = try TCPConnector.openStream(boundTo: wanted)
    } catch {
      record(error)
      return false
    }
    origin.binding = SocketAddress(host: address, port: localPort)
    currentState = .bound
    existingDetails?.stateChanged?.notify(currentState)
    return true
  }

  // MARK: -

  private func mayConnect() -> Bool {
    // All is sent: what is still waited for is the end of a peer that does not matter any more.
    if flags.contains(.lingering) { becomeUnconnected() }
    guard currentState == .unconnected || currentState == .bound else {
      record(Failure(.operation, "connectToHost() called when already connected or connecting"))
      return false
    }
    return true
  }

  /// - Parameter address: nil where the host's name is to be looked up.
  private func begin(_ query: NetworkProxyQuery, _ address: HostAddress?) {
    guard mayConnect() else { return }
    resetForConnection()
    let binding = existingDetails?.origin?.binding.map { ($0, descriptor: descriptor) }
    descriptor = -1
    existingDetails?.origin?.binding = nil
    let (hostName, port) = (query.peerHostName, query.peerPort)
    let isLoopback = address?.isLoopback ?? (hostName == "localhost")
    let proxy = existingDetails?.origin?.proxy ?? .default
    // To the C library and to proxies a name ends with it.
    let hasNUL = hostName.utf8.contains(0)
    switch hasNUL
      ? .impossible(.hostNotFound) : ProxyRoute.find(for: query, own: proxy, isLoopback: isLoopback)
    {
    case .direct:
      let addresses = address.map { [$0] } ?? []
      let connector = TCPConnector(to: hostName, addresses: addresses, port: port, boundTo: binding)
      details.attempt = ConnectionAttempt(connector)
    case .impossible(let failure):
      if let binding { SystemCalls.closeDescriptor(binding.descriptor) }
      details.attempt = ConnectionAttempt()
      return attemptFailed(failure)
    case .through(let route):
      peer = address?.core(port: port) ?? csc_address()
      peer.port = port
      let destination: SOCKS5Handshake.Destination =
        address.map { .address($0, port: port) } ?? .name(Array(hostName.utf8), port: port)
      let connection = ProxyConnection(.connect, to: destination, through: route, boundTo: binding)
      details.attempt = ConnectionAttempt(throughProxy: connection)
    }
    context.loop?.keep(connecting: self)
    if let attempt = existingDetails?.attempt, attempt.isLookingUp {
      wait(for: attempt)
    } else {
      continueAttempt()
    }
  }

  /// Goes on with the attempt as far as that is possible without waiting, and watches for the rest.
  func continueAttempt() {
    guard let attempt = existingDetails?.attempt, attempt.failure == nil else { return }
    attempt.stopWatching()
    let progress = attempt.advance()
    if let address = attempt.address { peer = address.core }
    switch progress {
    case .connected(let connected):
      descriptor = connected
      attemptSucceeded()
    case .failed(let failure):
      attemptFailed(failure)
    case .waiting:
      wait(for: attempt)
    }
  }

  func wait(for attempt: ConnectionAttempt) {
    if let engine, !attempt.watch(on: engine, { [unowned self] in continueAttempt() }) {
      return attemptFailed(.outOfResources)
    }
    let state = attempt.isLookingUp ? SocketState.hostLookup : .connecting
    guard currentState != state else { return }
    currentState = state
    existingDetails?.stateChanged?.notify(currentState)
  }

  private func attemptSucceeded() {
    endAttempt()
    stopWatching()
    currentState = .connected
    watchLater()
    updateReadWatch()
    sendWhatWasWrittenBefore()
    existingWaiters?.existingSettings?.state.wakeAll()
    existingDetails?.stateChanged?.notify(currentState)
    guard currentState == .connected else { return }
    existingDetails?.connected?.notify()
    if flags.contains(.closesOnceConnected) { disconnectFromHost() }
  }

  private func sendWhatWasWrittenBefore() {
    if output != nil {
      watchWrite(true)
      armWriteTimer()
      sendHeldBytes()
      wakeWriterIfDrained()
    } else if flags.contains(.writeEnded) {
      SystemCalls.endWriting(descriptor)
    }
  }

  /// Not from within connectToHost() where there is a loop: its caller connects handlers afterwards.
  private func attemptFailed(_ failure: Failure) {
    let attempt = existingDetails?.attempt
    attempt?.stopWatching()
    attempt?.failure = failure
    currentState = .connecting
    if let engine {
      engine.enqueue { [self] in
        if existingDetails?.attempt === attempt { finishFailedAttempt() }
      }
    } else {
      finishFailedAttempt()
    }
  }

  /// Reports that an attempt has failed, if it has.
  ///
  /// - Returns: whether it has.
  @discardableResult
  func finishFailedAttempt() -> Bool {
    guard let failure = existingDetails?.attempt?.failure else { return false }
    connectionFailed(failure)
    return true
  }

  /// There is a connection, or there will be none.
  func endAttempt() {
    guard let attempt = existingDetails?.attempt else { return }
    attempt.stopWatching()
    details.attempt = nil
    context.loop?.release(connecting: self)
  }

  func resetForConnection() {
    dropInput()
    dropOutput()
    flags.formIntersection([.wantsInput, .inReadyRead, .inBytesWritten])
    unreportedWritten = 0
    peer = csc_address()
    existingDetails?.hasOverflowed = false
    transportSlot = nil
    existingWaiters?.isAborted = false
    guard let origin = existingDetails?.origin else { return }
    origin.beginning = nil
    origin.isPastMaximumAge = false
    origin.proxied = nil
  }
}
