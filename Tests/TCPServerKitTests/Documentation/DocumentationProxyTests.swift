// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// proxy() and setProxy().
@Suite("Documentation: proxies", .blocking)
struct DocumentationProxyTests {
  static let proxies = [
    NetworkProxy.http(hostName: "proxy.example"), .socks5(hostName: "proxy.example"),
    NetworkProxy(.httpCaching, hostName: "proxy.example", port: 3128),
    NetworkProxy(.ftpCaching, hostName: "proxy.example", port: 143),
  ]

  static let withoutListening: NetworkProxy = {
    var proxy = NetworkProxy.socks5(hostName: "proxy.example")
    proxy.capabilities.remove(.listening)
    return proxy
  }()

  @Test("proxy: the default is the application's")
  func defaultProxy() {
    let server = TCPServer(eventBase: nil)
    #expect(server.proxy == .default)
    #expect(server.proxy.kind == .default)
    #expect(NetworkProxy.Kind.default.rawValue == 0)
  }

  @Test("proxy: the server's own takes its place", arguments: proxies)
  func setProxy(_ proxy: NetworkProxy) {
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy
    #expect(server.proxy == proxy)
  }

  @Test("proxy: none disables it")
  func noProxy() {
    let server = TCPServer(eventBase: nil)
    server.proxy = Self.proxies[0]
    #expect(!server.listen(address: .anyIPv4))
    server.proxy = .none
    #expect(NetworkProxy.Kind.none.rawValue == 2)
    #expect(server.listen(address: .anyIPv4))
    #expect(PlainClient(port: server.serverPort) != nil)
  }

  @Test(
    "S15: listening on more than this machine through a proxy that cannot listen is an unsupported operation",
    arguments: proxies.filter { $0.kind != .socks5 } + [withoutListening],
    [.any, .anyIPv4, .anyIPv6] as [HostAddress]
  )
  func cannotListen(_ proxy: NetworkProxy, _ address: HostAddress) {
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy
    fault_reset_counts()
    #expect(!server.listen(address: address))
    #expect(fault_calls(FAULT_SOCKET) == 0, "nobody was asked")
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(server.errorString == "Operation on socket is not supported (\(proxy), set on this server)")
    #expect(!server.isListening)
    #expect(server.socketDescriptor == -1)
  }

  @Test(
    "A loopback address needs no proxy and uses none",
    arguments: proxies,
    ["127.0.0.1", "127.1.2.3", "::ffff:127.0.0.1"]
  )
  func loopback(_ proxy: NetworkProxy, _ address: String) throws {
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy
    #expect(server.listen(address: try #require(HostAddress(address))), "\(server.errorString)")
    let client = try #require(PlainClient(address, port: server.serverPort))
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    #expect(server.proxy == proxy)
    expectBalanced(server)
  }

  @Test("A proxy set while listening counts from the next listen() on")
  func setWhileListening() {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .anyIPv4))
    server.proxy = Self.proxies[0]
    #expect(server.isListening)
    #expect(PlainClient(port: server.serverPort) != nil)
    server.close()
    #expect(!server.listen(address: .anyIPv4))
  }

  @Test(
    "socketDescriptor: usable with system calls through a proxy, too, unlike in Qt"
  )
  func nativeListeningDescriptor() throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy.proxy
    try #require(server.listen(), "\(server.errorString)")
    let control = try #require(proxy.takeControl())
    #expect(Endpoint(localOf: server.socketDescriptor)?.port != nil)
    // What the proxy sees of it.
    unsafe _ = send(server.socketDescriptor, "native", 6, CInt(MSG_NOSIGNAL))
    #expect(control.receive(exactly: 6) == Array("native".utf8))
    server.close()
    #expect(server.socketDescriptor == -1)
    server.proxy = .none
    #expect(server.listen(address: .localHost))
    #expect(Descriptors.option(server.socketDescriptor, SOL_SOCKET, SO_ACCEPTCONN) == 1)
  }

  @Test(
    "incomingConnection(): its descriptor is usable with system calls and on any thread through a proxy, too",
    arguments: [true, false]
  )
  func nativeConnectionDescriptor(_ natively: Bool) throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds() + [.send(ScriptedProxy.reply())])
    let server = OverridingServer(eventBase: nil)
    server.proxy = proxy.proxy
    server.onIncoming = { _, descriptor in
      guard !natively else {
        unsafe _ = send(descriptor, "peer", 4, CInt(MSG_NOSIGNAL))
        close(descriptor)
        return
      }
      let other = OtherThread {
        let socket = TCPSocket(eventBase: nil)
        #expect(socket.setSocketDescriptor(descriptor))
        socket.write("peer")
        socket.disconnectFromHost()
      }
      other.join()
    }
    try #require(server.listen())
    let deadline = ContinuousClock.now + Loop.limit
    while server.statistics.delivered == 0 && ContinuousClock.now < deadline {
      #expect(!server.waitForNewConnection(msec: 20), "nothing is pending")
    }
    let control = try #require(proxy.takeControl())
    #expect(control.nextInput() == .bytes(Array("peer".utf8)))
    #expect(control.nextInput() == .end)
    expectBalanced(server)
  }
}
