internal import CServerCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// Connecting through a SOCKS5 proxy.
extension TCPSocket {
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
      return existingDetails?.proxy ?? .default
    }
    set {
      requireLoopThread("TCPSocket.proxy")
      details.proxy = newValue
    }
  }

  /// Starts connecting through a proxy, if one is to be used.
  ///
  /// - Returns: whether that is so, or there is one that cannot connect: then the attempt has failed.
  func connectThroughProxy(
    _ attempt: ConnectionAttempt,
    to hostName: String,
    _ destination: SOCKS5Machine.Destination,
    isLoopback: Bool
  ) -> Bool {
    let query = NetworkProxyQuery(connectingTo: hostName, port: attempt.port)
    switch ProxyRoute.find(for: query, own: existingDetails?.proxy ?? .default, isLoopback: isLoopback) {
    case .direct:
      return false
    case .impossible(let failure):
      attemptFailed(failure)
    case .through(let route):
      attempt.proxied = ProxyConnection(.connect, to: destination, through: route)
      currentState = .connecting
      if case .address(let address, let port) = destination {
        peer = address.core(port: port)
      } else {
        peer.port = attempt.port
      }
      continueThroughProxy()
    }
    return true
  }

  private func limitProxy(_ attempt: ConnectionAttempt, until deadline: ContinuousClock.Instant?) {
    guard attempt.proxyDeadline != deadline else { return }
    attempt.proxyDeadline = deadline
    attempt.proxyTimer = nil
    guard let engine, let deadline else { return }
    attempt.proxyTimer = LoopTimer(engine, after: deadline - .now) { [weak self, weak attempt] in
      if let self, let attempt, attempt === self.existingDetails?.attempt { self.proxyTimedOut() }
    }
  }

  func proxyTimedOut() {
    guard let attempt = existingDetails?.attempt, let proxied = attempt.proxied else { return }
    stopWatching()
    handle(proxied.timeOut(), of: attempt, proxied)
  }

  func continueThroughProxy() {
    guard let attempt = existingDetails?.attempt, let proxied = attempt.proxied else { return }
    // First: going on may close the descriptor that is watched.
    stopWatching()
    handle(proxied.advance(), of: attempt, proxied)
  }

  private func handle(
    _ progress: ProxyConnection.Progress,
    of attempt: ConnectionAttempt,
    _ proxied: ProxyConnection
  ) {
    switch progress {
    case .connected:
      descriptor = proxied.takeDescriptor()
      attemptSucceeded()
    case .failed(let failure):
      failThroughProxy(attempt, failure)
    case .waiting, .bound, .arrived:
      limitProxy(attempt, until: proxied.deadline)
      watchWrite(true, on: proxied.awaits)
    }
  }

  private func failThroughProxy(_ attempt: ConnectionAttempt, _ failure: Failure) {
    attempt.proxied = nil
    attempt.proxyDeadline = nil
    attempt.proxyTimer = nil
    attemptFailed(failure)
  }
}
