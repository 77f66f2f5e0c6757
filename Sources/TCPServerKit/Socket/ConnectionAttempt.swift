/// An outgoing connection that a socket is making, directly or through a proxy.
final class ConnectionAttempt {
  enum Way {
    case direct(TCPConnector)
    case throughProxy(ProxyConnection)
  }

  private let way: Way?
  private var watches: [DescriptorWatch] = []
  private var timer: LoopTimer?
  /// Why it has failed; nil while it goes on.
  var failure: Failure?

  /// - Parameter way: nil for an attempt that has failed already.
  init(_ way: Way?) {
    self.way = way
  }

  var isLookingUp: Bool {
    if case .direct(let connector) = way { connector.isLookingUp } else { false }
  }

  /// Where it leads, as far as that is not the proxy's to find out.
  var address: SocketAddress? {
    if case .direct(let connector) = way { connector.address } else { nil }
  }

  var awaited: [SystemCalls.Awaited] {
    switch way {
    case .direct(let connector): connector.awaited
    case .throughProxy(let connection): connection.awaited
    case nil: []
    }
  }

  /// When it is to go on though no descriptor is ready; nil where that may take any time.
  var deadline: ContinuousClock.Instant? {
    switch way {
    case .direct(let connector): connector.deadline
    case .throughProxy(let connection): connection.deadline
    case nil: nil
    }
  }

  enum Progress {
    case waiting
    /// The descriptor is the caller's.
    case connected(CInt)
    case failed(Failure)
  }

  func advance() -> Progress {
    switch way {
    case .direct(let connector):
      switch connector.advance() {
      case .waiting: .waiting
      case .connected(let descriptor, _): .connected(descriptor)
      case .failed(let failure): .failed(failure)
      }
    case .throughProxy(let connection):
      switch connection.advance() {
      case .waiting, .bound, .arrived: .waiting
      case .connected: .connected(connection.takeDescriptor())
      case .failed(let failure): .failed(failure)
      }
    case nil:
      .waiting
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
