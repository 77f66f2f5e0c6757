// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// A connection to a SOCKS5 proxy: made, and talked through. Never blocks: the caller waits for what is ``awaited`` or for
/// the ``deadline``, by the loop or by poll, and calls ``advance()``.
///
/// It reads what the conversation bytesNeeded and not a byte more, so that its descriptor is handed over with all that
/// is the user's still in the kernel.
final class ProxyConnection {
  enum Progress {
    /// For what is ``awaited``.
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
    case connecting(TCPConnector)
    case talking
    case over(Failure)
  }

  private let route: ProxyRoute
  private let knownAddress: HostAddress?
  /// Where the connection to the proxy comes from; nil once that is being made.
  private var binding: TCPConnector.Binding?
  private var handshake: SOCKS5Handshake
  private var stage: Stage
  private var unsent: [UInt8] = []
  private var sentCount = 0
  /// Nothing more can be sent.
  private var isSendingBroken = false
  private(set) var descriptor: CInt = -1
  /// The options that the descriptor had before it waited for a peer.
  private var keptOptions: [SocketOption: Int] = [:]
  /// The proxy's address, once it is known.
  private(set) var proxyAddress = HostAddress.null

  /// - Parameters:
  ///   - knownAddress: where the proxy's name led to before; nil to look it up.
  ///   - binding: the local address of the connection to the proxy.
  init(
    _ command: SOCKS5Handshake.Command,
    to destination: SOCKS5Handshake.Destination,
    through route: ProxyRoute,
    at knownAddress: HostAddress? = nil,
    boundTo binding: TCPConnector.Binding? = nil
  ) {
    self.route = route
    self.binding = binding
    self.knownAddress = knownAddress
    stage = .unstarted
    var credentials: [UInt8]?
    if route.proxy.hasCredentials {
      let (user, password) = (route.proxy.user, route.proxy.password)
      credentials = SOCKS5Handshake.authenticationMessage(user: user, password: password)
      if credentials == nil {
        let text = "The proxy's user name and password must be 1 to 255 bytes long each"
        stage = .over(route.naming(Failure(.proxyAuthenticationRequired, text)))
      }
    }
    handshake = SOCKS5Handshake(command, to: destination, credentials: credentials)
  }

  deinit {
    close()
  }

  /// When the present step has taken too long; nil while the proxy waits for a peer. Each of the proxy's addresses has
  /// the whole time, and so has the host that the proxy connects to.
  private var limit: ContinuousClock.Instant?

  private func limit(to timeout: Duration) {
    limit = .now + timeout.limited
  }

  /// When ``advance()`` is to be called though no descriptor is ready; nil where that may take any time.
  var deadline: ContinuousClock.Instant? {
    guard case .connecting(let connector) = stage, let next = connector.deadline else { return limit }
    return limit.map { min($0, next) } ?? next
  }

  /// What has to happen before it can go on; nothing when it is over.
  var awaited: [SystemCalls.Awaited] {
    switch stage {
    case .connecting(let connector): connector.awaited
    case .talking: [(descriptor, forWriting: !unsent.isEmpty)]
    case .unstarted, .over: []
    }
  }

  /// The descriptor with the stream of the user, who owns it from now on.
  func takeDescriptor() -> CInt {
    endKeepAlive()
    return exchange(&descriptor, with: -1)
  }

  func close() {
    handshake.wipeCredentials()
    SOCKS5Handshake.wipe(&unsent)
    if let binding = exchange(&binding, with: nil) { SystemCalls.closeDescriptor(binding.descriptor) }
    if descriptor >= 0 {
      SystemCalls.closeDescriptor(descriptor)
    }
    descriptor = -1
  }

  /// Does what can be done without waiting, up to the next thing worth reporting; gives up when the time is over.
  func advance() -> Progress {
    while true {
      let progress: Progress? =
        switch stage {
        case .unstarted: begin()
        case .connecting(let connector): connect(connector)
        case .talking: talk()
        case .over(let failure): .failed(failure)
        }
      if case .waiting = progress, let limit, limit <= .now {
        return fail(.timedOut)
      }
      if let progress {
        return progress
      }
    }
  }

  // MARK: - Reaching the proxy

  private func begin() -> Progress? {
    let proxy = route.proxy
    let address = knownAddress ?? HostAddress(hostName: proxy.hostName)
    stage = .connecting(
      TCPConnector(
        to: proxy.hostName,
        addresses: address.map { $0 == .any ? [] : [$0] } ?? [],
        port: proxy.port,
        boundTo: exchange(&binding, with: nil),
        attemptDelay: min(TCPConnector.attemptDelay, proxy.timeout)
      ) { host in
        !proxy.hasCredentials || host.isLoopback || proxy.allowsClearTextCredentials ? nil : Self.clearText
      }
    )
    limit(to: proxy.timeout)
    return nil
  }

  private static let clearText = Failure(
    .proxyAuthenticationRequired,
    "The proxy's credentials would go to another machine in clear text, which is not allowed"
  )

  private func connect(_ connector: TCPConnector) -> Progress? {
    let attempts = connector.attemptCount
    switch connector.advance() {
    case .waiting:
      if connector.attemptCount > attempts { limit(to: route.proxy.timeout) }
      return .waiting
    case .connected(let connected):
      descriptor = connected
      proxyAddress = connector.address?.host ?? .null
      stage = .talking
      unsent = handshake.greeting
      return nil
    case .failed(let failure):
      return fail(Self.asProxys(failure))
    }
  }

  private static func asProxys(_ failure: Failure) -> Failure {
    switch failure.error {
    case .connectionRefused: Failure(.proxyConnectionRefused, "Connection to proxy refused")
    case .hostNotFound: Failure(.proxyNotFound, "Proxy host not found")
    default: failure
    }
  }

  // MARK: - Talking

  private func talk() -> Progress? {
    guard send() else { return .waiting }
    guard handshake.bytesNeeded > 0 else { return .waiting }
    var room = [UInt8](repeating: 0, count: handshake.bytesNeeded)
    let outcome = unsafe room.withUnsafeMutableBytes {
      unsafe SystemCalls.receive(descriptor, into: $0)
    }
    switch outcome {
    case .value(let count) where count > 0:
      return handle(handshake.receive(room[..<count]).event)
    case .failed where outcome.wouldBlock && !isSendingBroken:
      return .waiting
    default:
      return handle(handshake.endOfInput())
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
      SOCKS5Handshake.wipe(&unsent)
      sentCount = 0
    }
    return true
  }

  private func handle(_ event: SOCKS5Handshake.Event?) -> Progress? {
    switch event {
    case nil:
      return nil
    case .send(let bytes):
      unsent = bytes
      if handshake.connectsToHost { limit(to: route.proxy.timeoutOfHost) }
      return nil
    case .bound(let address, let port):
      limit = nil
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
