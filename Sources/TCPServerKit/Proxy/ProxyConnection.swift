internal import CServerCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// A connection to a SOCKS5 proxy: looked up, made and talked through. Never blocks: the caller waits for
/// what it ``awaits``, by the loop or by poll, and calls ``advance()``.
///
/// It reads what the conversation wants and not a byte more, so that its descriptor is handed over with all that
/// is the user's still in the kernel.
final class ProxyConnection {
  enum Progress {
    /// Until what it ``awaits``.
    case waiting
    case bound(SocketAddress)
    /// The conversation is over: ``takeDescriptor()`` has the stream.
    case arrived(SocketAddress)
    /// The same.
    case connected
    case failed(Failure)
  }

  private enum Stage {
    case unstarted
    case lookup(NameLookup)
    case connecting
    case talking
    case over(Failure)
  }

  private let route: ProxyRoute
  private let knownAddress: HostAddress?
  private var machine: SOCKS5Machine
  private var stage: Stage
  private var candidates: ArraySlice<HostAddress> = []
  private var unsent: [UInt8] = []
  private var sentCount = 0
  /// Nothing more can be sent.
  private var isSendingBroken = false
  private var failure = Failure(.proxyNotFound, "Proxy host not found")
  private(set) var descriptor: CInt = -1
  /// The options that the descriptor had before it waited for a peer.
  private var keptOptions: [SocketOption: Int] = [:]
  /// The proxy's address, once it is known.
  private(set) var proxyAddress = HostAddress.null

  /// - Parameter knownAddress: where the proxy's name led to before; nil to look it up.
  init(
    _ command: SOCKS5Machine.Command,
    to destination: SOCKS5Machine.Destination,
    through route: ProxyRoute,
    at knownAddress: HostAddress? = nil
  ) {
    self.route = route
    self.knownAddress = knownAddress
    stage = .unstarted
    var credentials: [UInt8]?
    if route.proxy.hasCredentials {
      let (user, password) = (route.proxy.user, route.proxy.password)
      credentials = SOCKS5Machine.authenticationMessage(user: user, password: password)
      if credentials == nil {
        let text = "The proxy's user name and password must be 1 to 255 bytes long each"
        stage = .over(route.naming(Failure(.proxyAuthenticationRequired, text)))
      }
    }
    machine = SOCKS5Machine(command, to: destination, credentials: credentials)
  }

  deinit {
    close()
  }

  /// When the present step has taken too long; nil while the proxy waits for a peer. Each of the proxy's addresses has
  /// the whole time, and so has the host that the proxy connects to.
  private(set) var deadline: ContinuousClock.Instant?

  private func limit(to timeout: Duration) {
    deadline = .now + timeout.limited
  }

  /// The deadline has passed: tries the proxy's next address, if that is what it waited for.
  func timeOut() -> Progress {
    if case .connecting = stage, !candidates.isEmpty {
      failure = .timedOut
      return connectNext() ?? .waiting
    }
    return fail(.timedOut)
  }

  /// What has to happen before it can go on; the descriptor is -1 when it is over.
  var awaits: (descriptor: CInt, forWriting: Bool) {
    switch stage {
    case .lookup(let lookup): (lookup.descriptor, false)
    case .connecting: (descriptor, true)
    case .talking: (descriptor, !unsent.isEmpty)
    case .unstarted, .over: (-1, false)
    }
  }

  /// The descriptor with the stream of the user, who owns it from now on.
  func takeDescriptor() -> CInt {
    endKeepAlive()
    return exchange(&descriptor, with: -1)
  }

  func close() {
    machine.wipeCredentials()
    SOCKS5Machine.wipe(&unsent)
    if descriptor >= 0 {
      SystemCalls.closeDescriptor(descriptor)
    }
    descriptor = -1
  }

  /// Does what can be done without waiting, up to the next thing worth reporting.
  func advance() -> Progress {
    while true {
      let progress: Progress? =
        switch stage {
        case .unstarted: begin()
        case .lookup(let lookup): continueLookup(lookup)
        case .connecting: finishConnecting()
        case .talking: talk()
        case .over(let failure): .failed(failure)
        }
      if let progress {
        return progress
      }
    }
  }

  // MARK: - Reaching the proxy

  private func begin() -> Progress? {
    limit(to: route.proxy.timeout)
    if let address = knownAddress ?? HostAddress(hostName: route.proxy.hostName), address != .any {
      candidates = [address]
      return connectNext()
    }
    guard let lookup = NameLookup(route.proxy.hostName) else {
      return fail(Failure(.socketResource, "Out of resources"))
    }
    stage = .lookup(lookup)
    return nil
  }

  private func continueLookup(_ lookup: NameLookup) -> Progress? {
    guard let addresses = lookup.addresses else { return .waiting }
    candidates = addresses[...]
    return connectNext()
  }

  private func connectNext() -> Progress? {
    close(candidate: descriptor)
    while let host = candidates.popFirst() {
      guard mayCarryCredentials(to: host) else {
        let text = "The proxy's credentials would go to another machine in clear text, which is not allowed"
        return fail(Failure(.proxyAuthenticationRequired, text))
      }
      let address = SocketAddress(host: host.ipv4 ?? host, port: route.proxy.port)
      switch SystemCalls.openStream(family: address.family) {
      case .failed(let errnum):
        failure = Failure(CSC_CALL_SOCKET, errno: errnum)
        continue
      case .value(let descriptor):
        self.descriptor = CInt(descriptor)
      }
      proxyAddress = address.host
      switch address.connect(descriptor) {
      case .value, .failed(EINPROGRESS), .failed(EINTR):
        // Not further, though the proxy may be there already: callers expect no more of the call that begins.
        stage = .connecting
        limit(to: route.proxy.timeout)
        return .waiting
      case .failed(let errnum):
        note(errnum)
        close(candidate: descriptor)
      }
    }
    return fail(failure)
  }

  private func mayCarryCredentials(to host: HostAddress) -> Bool {
    !route.proxy.hasCredentials || host.isLoopback || route.proxy.allowsClearTextCredentials
  }

  private func close(candidate: CInt) {
    if candidate >= 0 {
      SystemCalls.closeDescriptor(candidate)
    }
    descriptor = -1
  }

  private func finishConnecting() -> Progress? {
    guard SystemCalls.isWritable(descriptor) else { return .waiting }
    let errnum = SystemCalls.option(descriptor, SOL_SOCKET, SO_ERROR) ?? EBADF
    guard errnum == 0 else {
      note(errnum)
      return connectNext()
    }
    stage = .talking
    unsent = machine.greeting
    return nil
  }

  private func note(_ errnum: CInt) {
    failure =
      errnum == ECONNREFUSED || errnum == ECONNRESET
      ? Failure(.proxyConnectionRefused, "Connection to proxy refused")
      : Failure(CSC_CALL_CONNECT, errno: errnum)
  }

  // MARK: - Talking

  private func talk() -> Progress? {
    guard send() else { return .waiting }
    guard machine.wants > 0 else { return .waiting }
    var room = [UInt8](repeating: 0, count: machine.wants)
    let outcome = unsafe room.withUnsafeMutableBytes {
      unsafe SystemCalls.receive(descriptor, into: $0)
    }
    switch outcome {
    case .value(let count) where count > 0:
      return handle(machine.receive(room[..<count]).event)
    case .failed where outcome.wouldBlock && !isSendingBroken:
      return .waiting
    default:
      return handle(machine.endOfInput())
    }
  }

  /// Whether all is sent. A proxy that reads no more may have said why before: reading finds out.
  private func send() -> Bool {
    while !unsent.isEmpty {
      let outcome = unsafe unsent.withUnsafeBytes { bytes in
        unsafe SystemCalls.transmit(descriptor, UnsafeRawBufferPointer(rebasing: bytes[sentCount...]))
      }
      if outcome.wouldBlock {
        return false
      }
      if case .value(let count) = outcome {
        sentCount += count
        guard sentCount == unsent.count else { continue }
      } else {
        isSendingBroken = true
      }
      SOCKS5Machine.wipe(&unsent)
      sentCount = 0
    }
    return true
  }

  private func handle(_ event: SOCKS5Machine.Event?) -> Progress? {
    switch event {
    case nil:
      return nil
    case .send(let bytes):
      unsent = bytes
      if machine.connectsToHost { limit(to: route.proxy.timeoutOfHost) }
      return nil
    case .bound(let address, let port):
      deadline = nil
      startKeepAlive()
      let isEverywhere = address == .anyIPv4 || address == .anyIPv6
      return .bound(SocketAddress(host: isEverywhere ? proxyAddress : address, port: port))
    case .arrived(let address, let port):
      return .arrived(SocketAddress(host: address, port: port))
    case .connected:
      return .connected
    case .failed(let failure):
      return fail(failure)
    }
  }

  /// A peer may come in hours: a proxy that has gone without a word must be noticed before.
  private func startKeepAlive() {
    for (option, value) in [SocketOption.keepAlive: 1, .keepAliveIdle: 60, .keepAliveInterval: 15] {
      keptOptions[option] = option.value(for: descriptor)
      _ = option.set(value, for: descriptor)
    }
  }

  /// What a user sets later is to mean what it means on every other connection.
  private func endKeepAlive() {
    for (option, value) in exchange(&keptOptions, with: [:]) {
      _ = option.set(value, for: descriptor)
    }
  }

  private func fail(_ failure: Failure) -> Progress {
    let failure = route.naming(failure)
    close()
    stage = .over(failure)
    return .failed(failure)
  }
}
