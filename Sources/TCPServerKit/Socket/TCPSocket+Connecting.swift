internal import CServerCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// Connecting to a server: the client's side, as far as a server's tests and examples need one.
extension TCPSocket {
  /// Starts connecting to a host by its name or its address as text.
  ///
  /// A name is looked up on a thread of its own; its addresses are tried one after the other. ``connected`` or
  /// ``errorOccurred`` reports how it ended, or ``waitForConnected(msec:)``.
  public func connectToHost(_ hostName: String, port: UInt16) {
    guard mayTouch else {
      return post("TCPSocket.connectToHost(_:port:)") { $0.connectToHost(hostName, port: port) }
    }
    if let address = HostAddress(hostName: hostName) {
      return connectToHost(address, port: port)
    }
    guard let attempt = beginAttempt(port: port) else { return }
    let name = SOCKS5Machine.Destination.name(Array(hostName.utf8), port: port)
    let isLoopback = hostName == "localhost"
    guard !connectThroughProxy(attempt, to: hostName, name, isLoopback: isLoopback) else { return }
    guard let lookup = NameLookup(hostName) else {
      return attemptFailed(Failure(.socketResource, "Out of resources"))
    }
    attempt.lookup = lookup
    currentState = .hostLookup
    watchWrite(true, on: (lookup.descriptor, forWriting: false))
    announceState()
  }

  /// Starts connecting to an address. ``HostAddress/any`` and its kind mean this machine.
  public func connectToHost(_ address: HostAddress, port: UInt16) {
    guard mayTouch else {
      return post("TCPSocket.connectToHost(_:port:)") { $0.connectToHost(address, port: port) }
    }
    guard let attempt = beginAttempt(port: port) else { return }
    let address = address == .any ? .localHost : address.ipv4 ?? address
    let destination = SOCKS5Machine.Destination.address(address, port: port)
    let isLoopback = address.isLoopback
    guard !connectThroughProxy(attempt, to: "\(address)", destination, isLoopback: isLoopback) else { return }
    attempt.candidates = [address]
    connectNext()
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
    guard let bound = open(boundTo: wanted) else { return false }
    descriptor = bound
    details.binding = SocketAddress(host: address, port: localPort)
    currentState = .bound
    announceState()
    return true
  }

  /// A new descriptor that is bound to an address; nil, with the reason recorded, when it cannot be had.
  private func open(boundTo address: SocketAddress) -> CInt? {
    guard case .value(let opened) = SystemCalls.openStream(family: address.family) else {
      record(Failure(CSC_CALL_SOCKET, errno: errno))
      return nil
    }
    let descriptor = CInt(opened)
    guard case .failed(let errnum) = address.bind(descriptor) else { return descriptor }
    SystemCalls.closeDescriptor(descriptor)
    record(Failure(CSC_CALL_BIND, errno: errnum))
    return nil
  }

  /// The descriptor for a candidate: the bound one where there is one of its family.
  private func openStream(for attempt: ConnectionAttempt, family: CInt) -> SystemCalls.Outcome {
    guard let local = attempt.local else { return SystemCalls.openStream(family: family) }
    let isAny = local.host == .any
    let host: HostAddress = isAny ? family == AF_INET ? .anyIPv4 : .anyIPv6 : local.host.ipv4 ?? local.host
    let wanted = SocketAddress(host: host, port: local.port)
    guard wanted.family == family else { return .failed(EADDRNOTAVAIL) }
    let bound = exchange(&attempt.boundDescriptor, with: -1)
    if bound >= 0, SocketAddress.local(of: bound)?.family == family { return .value(Int(bound)) }
    if bound >= 0 { SystemCalls.closeDescriptor(bound) }
    return open(boundTo: wanted).map { .value(Int($0)) } ?? .failed(EADDRNOTAVAIL)
  }

  private func beginAttempt(port: UInt16) -> ConnectionAttempt? {
    // All is sent: what is still waited for is the end of a peer that does not matter any more.
    if flags.contains(.lingering) { becomeUnconnected() }
    guard currentState == .unconnected || currentState == .bound else {
      record(Failure(.operation, "connectToHost() called when already connected or connecting"))
      return nil
    }
    resetForConnection()
    let attempt = ConnectionAttempt(port: port)
    attempt.boundDescriptor = exchange(&descriptor, with: -1)
    attempt.local = existingDetails?.binding
    existingDetails?.binding = nil
    details.attempt = attempt
    return attempt
  }

  func continueLookup() {
    guard let attempt = existingDetails?.attempt, let lookup = attempt.lookup,
      let addresses = lookup.addresses
    else { return }
    stopWatching()
    attempt.lookup = nil
    attempt.candidates = addresses
    connectNext()
  }

  private func connectNext() {
    guard let attempt = existingDetails?.attempt else { return }
    while attempt.next < attempt.candidates.count {
      let address = SocketAddress(host: attempt.candidates[attempt.next], port: attempt.port)
      attempt.next += 1
      switch openStream(for: attempt, family: address.family) {
      case .failed(let errnum):
        attempt.failure = Failure(attempt.local == nil ? CSC_CALL_SOCKET : CSC_CALL_BIND, errno: errnum)
        continue
      case .value(let descriptor):
        self.descriptor = CInt(descriptor)
      }
      peer = address.core
      switch address.connect(descriptor) {
      case .value:
        return attemptSucceeded()
      case .failed(EINPROGRESS), .failed(EINTR):
        let isNew = currentState != .connecting
        currentState = .connecting
        watchWrite(true)
        if isNew { announceState() }
        return
      case .failed(let errnum):
        candidateFailed(errnum)
      }
    }
    attemptFailed(attempt.failure)
  }

  func continueConnecting() {
    guard existingDetails?.attempt?.proxied == nil else { return continueThroughProxy() }
    let errnum = SystemCalls.option(descriptor, SOL_SOCKET, SO_ERROR) ?? EBADF
    if errnum == 0 {
      attemptSucceeded()
    } else {
      candidateFailed(errnum)
      connectNext()
    }
  }

  private func candidateFailed(_ errnum: CInt) {
    existingDetails?.attempt?.failure = Failure(CSC_CALL_CONNECT, errno: errnum)
    stopWatching()
    closeDescriptor()
  }

  func attemptSucceeded() {
    stopWatching()
    details.attempt = nil
    currentState = .connected
    watchLater()
    updateReadWatch()
    sendWhatWasWrittenBefore()
    waits?.existingSettings?.state.wakeAll()
    announceState()
    guard currentState == .connected else { return }
    existingDetails?.connected?.notify()
    if flags.contains(.closesOnceConnected) { disconnectFromHost() }
  }

  private func sendWhatWasWrittenBefore() {
    if output != nil {
      watchWrite(true)
      sendHeldBytes()
      wakeWriterIfDrained()
    } else if flags.contains(.writeEnded) {
      SystemCalls.endWriting(descriptor)
    }
  }

  /// Not from within connectToHost() where there is a loop: its caller connects handlers afterwards.
  func attemptFailed(_ failure: Failure) {
    let attempt = existingDetails?.attempt
    attempt?.failure = failure
    currentState = .connecting
    if let engine {
      engine.later { [self] in
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
    guard currentState == .connecting, descriptor < 0, let attempt = existingDetails?.attempt,
      attempt.proxied == nil
    else { return false }
    connectionFailed(attempt.failure)
    return true
  }

  func resetForConnection() {
    dropInput()
    output = nil
    flags.formIntersection([.wantsInput, .inReadyRead, .inBytesWritten])
    unannounced = 0
    peer = csc_address()
  }
}
