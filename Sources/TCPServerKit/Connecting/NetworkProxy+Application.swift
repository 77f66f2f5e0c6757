// SPDX-License-Identifier: Apache-2.0

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

  private static let applicationSettings = Locked<(proxy: NetworkProxy, factory: Factory?)>((.none, nil))

  /// The application's proxy; ``none`` until one is set. From any thread.
  ///
  /// It counts for servers that listen and sockets that connect from then on. Setting it removes the
  /// ``applicationFactory``; setting ``default`` means ``none``.
  public static var application: NetworkProxy {
    get { applicationSettings.withLock { $0.proxy } }
    set {
      let proxy = newValue.kind == .default ? .none : newValue
      applicationSettings.withLock { $0 = (proxy, nil) }
    }
  }

  /// Called for the proxy once each time a server listens or a socket connects; nil for none. Not called for
  /// loopback addresses. From any thread.
  ///
  /// The first proxy of its answer that can do what is wanted is used; with an empty answer, none. Setting it sets
  /// ``application`` back to ``none``.
  public static var applicationFactory: Factory? {
    get { applicationSettings.withLock { $0.factory } }
    set { applicationSettings.withLock { $0 = (.none, newValue) } }
  }
}
