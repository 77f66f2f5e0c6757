// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// What proxies are, and which one is used. The application's settings must not reach the servers of tests that run
/// beside these: they are set in processes of their own.
@Suite("Proxies: types and settings", .blocking)
struct ProxyTypesTests {
  @Test(
    "Each kind has Qt's number and capabilities, until others are set",
    arguments: [
      (NetworkProxy.Kind.default, 0, 0x67), (.socks5, 1, 0x17), (.none, 2, 0x67), (.http, 3, 0x19),
      (.httpCaching, 4, 0x18), (.ftpCaching, 5, 0x18),
    ]
  )
  func kinds(_ kind: NetworkProxy.Kind, _ number: Int, _ bits: Int) {
    var proxy = NetworkProxy(kind)
    #expect(kind.rawValue == number)
    #expect(proxy.capabilities.rawValue == bits)
    proxy.kind = .http
    #expect(proxy.capabilities.rawValue == 0x19, "derived anew")
    proxy.capabilities = .caching
    proxy.kind = kind
    #expect(proxy.capabilities == .caching, "set by hand")
    #expect(NetworkProxyQuery.Kind.tcpSocket.rawValue == 0)
    #expect(NetworkProxyQuery.Kind.tcpServer.rawValue == 100)
  }

  @Test("No way of printing a proxy shows its credentials")
  func noCredentials() {
    let proxy = NetworkProxy.socks5(hostName: "::1", port: 7, user: "someone", password: "secret")
    var dumped = ""
    dump(proxy, to: &dumped)
    for text in [
      "\(proxy)", String(reflecting: proxy), dumped, "\([proxy])", String(describing: proxy as Any),
    ] {
      #expect(text.contains("SOCKS5 proxy [::1]:7"))
      #expect(!text.contains("secret") && !text.contains("someone"))
    }
    let query = NetworkProxy.none
    #expect("\(query)" == "no proxy")
  }

  @Test("The application's proxy and its factory replace each other; the default is none")
  func settings() async {
    await #expect(processExitsWith: .success) {
      guard NetworkProxy.application == .none, NetworkProxy.applicationFactory == nil else {
        fatalError("at first")
      }
      NetworkProxy.application = .http(hostName: "proxy.example")
      guard NetworkProxy.application.kind == .http else { fatalError("set") }
      NetworkProxy.applicationFactory = { _ in [] }
      guard NetworkProxy.application == .none, NetworkProxy.applicationFactory != nil else {
        fatalError("factory")
      }
      NetworkProxy.application = .default
      guard NetworkProxy.applicationFactory == nil, NetworkProxy.application == .none else {
        fatalError("default")
      }
    }
  }

  @Test("S16: the factory is asked once, and its first proxy that can listen is used; errors name the origin")
  func factory() async {
    await #expect(processExitsWith: .success) {
      let asked = Counter()
      let rows: [([NetworkProxy], SocketError, String)] = [
        ([.socks5(hostName: "127.0.0.1", port: 1)], .proxyConnectionRefused, "SOCKS5 proxy 127.0.0.1:1"),
        (
          [.init(.httpCaching, hostName: "a", port: 1), .socks5(hostName: "127.0.0.1", port: 1)],
          .proxyConnectionRefused, "SOCKS5 proxy 127.0.0.1:1"
        ),
        (
          [.init(.ftpCaching), .init(.httpCaching), .socks5(hostName: "127.0.0.1", port: 1)],
          .proxyConnectionRefused, "SOCKS5 proxy 127.0.0.1:1"
        ),
        ([.http(hostName: "a")], .unsupportedSocketOperation, "HTTP proxy a:8080"),
        ([.init(.httpCaching, hostName: "a", port: 1)], .unsupportedSocketOperation, "HTTP cache a:1"),
        ([.init(.ftpCaching, hostName: "a", port: 1)], .unsupportedSocketOperation, "FTP cache a:1"),
        (
          [.init(.ftpCaching, hostName: "a", port: 1), .init(.httpCaching)], .unsupportedSocketOperation,
          "FTP cache a:1"
        ),
      ]
      for (proxies, error, name) in rows {
        NetworkProxy.applicationFactory = { query in
          if query.kind == .tcpServer, query.localPort == 0, query.peerHostName == "", query.peerPort == 0 {
            asked.increment()
          }
          return proxies
        }
        let before = asked.value
        let server = TCPServer(eventBase: nil)
        guard !server.listen(), server.serverError == error, asked.value == before + 1,
          server.errorString.hasSuffix(" (\(name), from the application's proxy factory)"),
          server.proxy == .default
        else { fatalError("\(name): \(server.errorString), asked \(asked.value - before) times") }
        guard server.listen(address: .localHost), asked.value == before + 1 else {
          fatalError("loopback needs nobody")
        }
      }
      // None that can listen, but one that means no proxy; and none at all.
      for proxies in [[.http(hostName: "a"), .none], []] as [[NetworkProxy]] {
        NetworkProxy.applicationFactory = { _ in proxies }
        let server = TCPServer(eventBase: nil)
        guard server.listen(), server.serverPort != 0 else { fatalError(server.errorString) }
      }
    }
  }

  @Test("A server's own proxy comes before the application's, and no proxy is one as well")
  func own() async {
    await #expect(processExitsWith: .success) {
      NetworkProxy.application = .http(hostName: "a")
      let server = TCPServer(eventBase: nil)
      guard !server.listen(),
        server.errorString
          == "Operation on socket is not supported (HTTP proxy a:8080, the application's proxy)"
      else { fatalError(server.errorString) }
      server.proxy = .none
      guard server.listen() else { fatalError(server.errorString) }
      server.close()
      server.proxy = .socks5(hostName: "127.0.0.1", port: 1)
      guard !server.listen(), server.serverError == .proxyConnectionRefused,
        server.errorString.hasSuffix("set on this server)")
      else { fatalError(server.errorString) }
    }
  }
}
