// SPDX-License-Identifier: Apache-2.0

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
