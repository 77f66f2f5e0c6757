/// What a server or socket asks the application's proxy settings.
public struct NetworkProxyQuery: Hashable, Sendable {
  /// Who asks, with the numbers of `QNetworkProxyQuery::QueryType`.
  public enum Kind: Int, Sendable {
    /// A socket that connects.
    case tcpSocket = 0
    /// A server that listens.
    case tcpServer = 100
  }

  /// Who asks.
  public var kind: Kind
  /// The host to connect to, by name or address; empty for a server.
  public var peerHostName: String
  /// The port to connect to; 0 for a server.
  public var peerPort: UInt16
  /// The port to listen on; 0 for any, and for a socket.
  public var localPort: UInt16

  init(serverOn port: UInt16) {
    kind = .tcpServer
    peerHostName = ""
    peerPort = 0
    localPort = port
  }

  init(connectingTo hostName: String, port: UInt16) {
    kind = .tcpSocket
    peerHostName = hostName
    peerPort = port
    localPort = 0
  }
}

/// The proxy that servers and sockets use whose own is ``default``. There is none until a program sets one.
extension NetworkProxy {
  /// Finds the proxies for a query, the best first. Called on the thread of the server or socket that asks.
  public typealias Factory = @Sendable (NetworkProxyQuery) -> [NetworkProxy]

  private struct ApplicationSettings {
    var proxy: NetworkProxy = .none
    var factory: Factory?
  }

  private static let applicationSettings = Locked(ApplicationSettings())

  /// The application's proxy; ``none`` until one is set. From any thread.
  ///
  /// It counts for servers that listen and sockets that connect from then on. Setting it removes the
  /// ``applicationFactory``; setting ``default`` means ``none``.
  public static var application: NetworkProxy {
    get { applicationSettings.withLock { $0.proxy } }
    set {
      let proxy = newValue.kind == .default ? .none : newValue
      applicationSettings.withLock { $0 = ApplicationSettings(proxy: proxy) }
    }
  }

  /// Called for the proxy once each time a server listens or a socket connects; nil for none. Not called for
  /// loopback addresses. From any thread.
  ///
  /// The first proxy of its answer that can do what is wanted is used; with an empty answer, none. Setting it sets
  /// ``application`` back to ``none``.
  public static var applicationFactory: Factory? {
    get { applicationSettings.withLock { $0.factory } }
    set { applicationSettings.withLock { $0 = ApplicationSettings(factory: newValue) } }
  }
}

/// Which way a server or socket takes: the proxy, and who chose it.
struct ProxyRoute {
  enum Origin: String {
    case server = "set on this server"
    case socket = "set on this socket"
    case application = "the application's proxy"
    case factory = "from the application's proxy factory"
  }

  let proxy: NetworkProxy
  let origin: Origin

  /// An error's text with the proxy that it is about.
  func naming(_ failure: Failure) -> Failure {
    Failure(failure.error, "\(failure.text) (\(proxy), \(origin.rawValue))")
  }

  enum Resolution {
    case direct
    case through(ProxyRoute)
    /// There is a proxy, but none that can do it.
    case impossible(Failure)
  }

  /// The way for `query`.
  ///
  /// - Parameters:
  ///   - own: what was set on the server or socket.
  ///   - isLoopback: whether the address is this machine's own, which needs no proxy.
  static func find(
    for query: NetworkProxyQuery,
    own: NetworkProxy,
    isLoopback: Bool
  ) -> Resolution {
    let wanted: NetworkProxy.Capabilities = query.kind == .tcpServer ? .listening : .tunneling
    var candidates = [own]
    var origin: Origin = query.kind == .tcpServer ? .server : .socket
    if own.kind == .default {
      (candidates, origin) = applicationsCandidates(for: query, isLoopback: isLoopback)
    }
    candidates.removeAll { isLoopback && !$0.proxiesLoopback }
    guard let first = candidates.first else { return .direct }
    guard let chosen = candidates.first(where: { $0.capabilities.contains(wanted) && $0.isImplemented })
    else {
      let failure = Failure(.unsupportedSocketOperation, "Operation on socket is not supported")
      return .impossible(ProxyRoute(proxy: first, origin: origin).naming(failure))
    }
    return chosen.kind == .socks5 ? .through(ProxyRoute(proxy: chosen, origin: origin)) : .direct
  }

  private static func applicationsCandidates(
    for query: NetworkProxyQuery,
    isLoopback: Bool
  ) -> ([NetworkProxy], Origin) {
    // For a loopback address, which needs no proxy, the factory is not called.
    if let factory = NetworkProxy.applicationFactory {
      return (isLoopback ? [] : factory(query), .factory)
    }
    return ([NetworkProxy.application], .application)
  }
}

extension NetworkProxy {
  /// Whether this library can go through it: its capabilities are the program's to set.
  fileprivate var isImplemented: Bool {
    kind == .socks5 || kind == .none || kind == .default
  }
}
