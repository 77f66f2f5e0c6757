// SPDX-License-Identifier: Apache-2.0

/// An outgoing connection that a socket is making, directly, through a proxy, or to a path.
final class ConnectionAttempt {
  private let connector: TCPConnector?
  private let proxied: ProxyConnection?
  private let local: PathConnector?
  private var watches: [DescriptorWatch] = []
  private var timer: LoopTimer?
  /// Why it has failed; nil while it goes on.
  var failure: Failure?

  /// With neither, an attempt that has failed already.
  init(_ connector: TCPConnector? = nil, throughProxy proxied: ProxyConnection? = nil) {
    self.connector = connector
    self.proxied = proxied
    local = nil
  }

  init(toPath local: PathConnector) {
    connector = nil
    proxied = nil
    self.local = local
  }

  var isLookingUp: Bool {
    connector?.isLookingUp ?? false
  }

  /// Where it leads, as far as that is not the proxy's to find out.
  var address: SocketAddress? {
    connector?.address
  }

  var awaited: [SystemCalls.Awaited] {
    connector?.awaited ?? proxied?.awaited ?? []
  }

  /// When it is to go on though no descriptor is ready; nil where that may take any time.
  var deadline: ContinuousClock.Instant? {
    connector?.deadline ?? proxied?.deadline ?? local?.deadline
  }

  func advance() -> TCPConnector.Progress {
    guard let proxied else { return connector?.advance() ?? local?.advance() ?? .waiting }
    return switch proxied.advance() {
    case .waiting, .bound, .arrived: .waiting
    case .connected: .connected(proxied.takeDescriptor())
    case .failed(let failure): .failed(failure)
    }
  }

  /// Has `action` called when it can go on, until ``stopWatching()``.
  ///
  /// - Returns: false where the loop cannot.
  func watch(on engine: EventEngine, _ action: @escaping () -> Void) -> Bool {
    let awaited = awaited
    watches = awaited.compactMap {
      DescriptorWatch(engine, $0.descriptor, forWriting: $0.forWriting, action: action)
    }
    timer = deadline.map { LoopTimer(engine, after: $0 - .now, action: action) }
    return watches.count == awaited.count && !engine.isAbandoned
  }

  /// Before it goes on, which may close the descriptors.
  func stopWatching() {
    watches.forEach { $0.stop() }
    watches = []
    timer = nil
  }
}
