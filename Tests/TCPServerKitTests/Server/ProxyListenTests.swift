// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// listen() through a proxy, without a loop, up to the first reply.
@Suite("Listening through a proxy: listen()", .blocking, .timeLimit(.minutes(5)))
struct ProxyListenTests {
  private func server(_ proxy: NetworkProxy) -> TCPServer {
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy
    return server
  }

  @Test("It listens where the first reply says, and is silent about peers")
  func listens() throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let server = server(proxy.proxy)
    var announced = 0
    server.newConnection.connect { announced += 1 }
    try #require(server.listen(), "\(server.errorString)")
    #expect(server.isListening)
    #expect(server.serverAddress == HostAddress("1.2.3.4"))
    #expect(server.serverPort == 1286)
    #expect(server.proxyBindings.map(\.port) == [1286])
    #expect(server.serverError == .unknown)
    #expect(server.errorString == "")
    #expect(!server.hasPendingConnections)
    #expect(announced == 0)
    #expect(proxy.wrong == nil)
    // A real descriptor, which native calls can use: the connection to the proxy.
    let flags = DescriptorFlags(server.socketDescriptor)
    #expect(flags.isNonBlocking && flags.isCloseOnExec)
    let control = try #require(proxy.takeControl())
    #expect(Endpoint(localOf: server.socketDescriptor)?.port != nil)
    #expect(!server.listen(), "it listens already")
    #expect(server.errorString == "listen() called when already listening")
    #expect(!server.setSocketDescriptor(0))
    server.close()
    #expect(control.nextInput() == .end)
    #expect(!server.isListening)
    #expect(server.serverAddress == .null)
    #expect(server.serverPort == 0)
    #expect(server.socketDescriptor == -1)
    expectBalanced(server)
  }

  @Test("The port that is asked for is a wish, and the address is for any peer")
  func wish() throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds(on: 7, wish: 9))
    let server = server(proxy.proxy)
    try #require(server.listen(address: .localHost, port: 9))
    #expect(server.serverPort == 7)
    #expect(proxy.wrong == nil)
  }

  @Test("Every address as the reply's becomes the proxy's own")
  func everywhere() throws {
    let replies: [[UInt8]] = [[0, 0, 0, 0], [UInt8](repeating: 0, count: 16)]
    for address in replies {
      let proxy = ScriptedProxy([
        .expect([5, 1, 0]), .send([5, 0]), .expect([5, 2, 0, 4] + [UInt8](repeating: 0, count: 18)),
        .send(ScriptedProxy.reply(address, port: 80)),
      ])
      let server = server(proxy.proxy)
      try #require(server.listen(address: .anyIPv6))
      #expect(server.serverAddress == .localHost)
      #expect(server.serverPort == 80)
    }
  }

  @Test("A proxy on IPv6, for a server on IPv6", .enabled(if: Machine.hasIPv6, "no IPv6 here"))
  func ipv6() throws {
    let address: [UInt8] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
    let proxy = ScriptedProxy(
      on: "::1",
      [
        [
          .expect([5, 1, 0]), .send([5, 0]), .expect([5, 2, 0, 4] + [UInt8](repeating: 0, count: 18)),
          .sendBytes(ScriptedProxy.reply([UInt8](repeating: 0, count: 16), port: 80)),
          .sendBytes(ScriptedProxy.reply(address, port: 81)),
        ]
      ]
    )
    let server = server(proxy.proxy)
    try #require(server.listen(address: .anyIPv6), "\(server.errorString)")
    #expect(proxy.wrong == nil)
    #expect(server.serverAddress == .localHostIPv6, "the proxy's own")
    #expect(server.waitForNewConnection(msec: 60_000))
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == HostAddress("2001:db8::7"))
    #expect(socket.peerPort == 81)
    expectBalanced(server)
  }

  @Test("User and password are given when the proxy asks, in one piece, and not when it does not")
  func credentials() throws {
    let login: [UInt8] = [1, 2, 109, 101, 6] + Array("secret".utf8)
    let asking = ScriptedProxy([
      .expect([5, 2, 0, 2]), .sendBytes([5, 2]), .expect(login), .sendBytes([1, 0]),
      .expect(ScriptedProxy.request()), .sendBytes(ScriptedProxy.reply()),
    ])
    let trusting = ScriptedProxy([
      .expect([5, 2, 0, 2]), .send([5, 0]), .expect(ScriptedProxy.request()), .send(ScriptedProxy.reply()),
    ])
    for proxy in [asking, trusting] {
      var described = proxy.proxy
      described.user = "me"
      described.password = "secret"
      let server = server(described)
      #expect(server.listen(), "\(server.errorString)")
      #expect(proxy.wrong == nil)
    }
  }

  @Test(
    "What goes wrong has its error and text, with the proxy's name and origin, and leaves nothing open",
    arguments: [
      (
        [.expect([5, 1, 0]), .close], SocketError.proxyConnectionClosed,
        "Connection to proxy closed prematurely"
      ),
      ([.expect([5, 1, 0]), .reset], .proxyConnectionClosed, "Connection to proxy closed prematurely"),
      (
        [.expect([5, 1, 0]), .send([5, 0]), .close], .proxyConnectionClosed,
        "Connection to proxy closed prematurely"
      ),
      ([.expect([5, 1, 0]), .send([4, 4, 4, 4])], .proxyProtocol, "SOCKS version 5 protocol error"),
      (
        [.expect([5, 1, 0]), .send([5, 0xff])], .proxyAuthenticationRequired, "Proxy authentication failed"
      ),
      (
        [.expect([5, 1, 0]), .send([5, 2])], .socketAccess,
        "Proxy authentication failed: the proxy chose authentication method 2, which was not offered"
      ),
      ([.send([5, 0, 5, 0, 0, 3, 1, 97, 0, 80])], .proxyProtocol, "SOCKS version 5 protocol error"),
      ([.send([5, 0, 5, 1])], .network, "General SOCKSv5 server failure"),
      ([.send([5, 0, 5, 2])], .socketAccess, "Connection not allowed by SOCKSv5 server"),
      ([.send([5, 0, 5, 3])], .network, "Network unreachable"),
      ([.send([5, 0, 5, 4])], .hostNotFound, "Host not found"),
      ([.send([5, 0, 5, 5])], .connectionRefused, "Connection refused"),
      ([.send([5, 0, 5, 6])], .network, "TTL expired"),
      ([.send([5, 0, 5, 7])], .unsupportedSocketOperation, "SOCKSv5 command not supported"),
      ([.send([5, 0, 5, 8])], .unsupportedSocketOperation, "Address type not supported"),
      ([.send([5, 0, 5, 9])], .unknown, "Unknown SOCKSv5 proxy error code 0x09"),
    ] as [([ScriptedProxy.Step], SocketError, String)]
  )
  func failures(_ script: [ScriptedProxy.Step], _ error: SocketError, _ text: String) {
    let proxy = ScriptedProxy(script)
    let server = server(proxy.proxy)
    fault_reset_counts()
    #expect(!server.listen())
    #expect(server.serverError == error)
    #expect(server.errorString == "\(text) (SOCKS5 proxy 127.0.0.1:\(proxy.port), set on this server)")
    #expect(!server.isListening)
    #expect(server.socketDescriptor == -1)
    #expect(server.serverAddress == .null)
    #expect(fault_calls(FAULT_SOCKET) == 1)
    #expect(fault_calls(FAULT_CLOSE) == 1)
    #expect(fault_bad_closes() == 0)
    server.proxy = .none
    #expect(server.listen(address: .localHost), "it can listen at once")
    #expect(server.serverError == error, "the last error stays until there is another")
    expectBalanced(server)
  }

  @Test("A proxy that refuses, and one that no name leads to")
  func unreachable() throws {
    let closed = try ReservedPort()
    let port = closed.number
    var server = server(.socks5(hostName: "127.0.0.1", port: port))
    #expect(!server.listen())
    #expect(server.serverError == .proxyConnectionRefused)
    #expect(
      server.errorString == "Connection to proxy refused (SOCKS5 proxy 127.0.0.1:\(port), set on this server)"
    )

    server = self.server(.socks5(hostName: "no-such-host.invalid"))
    #expect(!server.listen())
    #expect(server.serverError == .proxyNotFound)
    #expect(
      server.errorString
        == "Proxy host not found (SOCKS5 proxy no-such-host.invalid:1080, set on this server)"
    )
  }

  @Test("A silent proxy is given up after the time that was set; what it has answered does not prolong it")
  func silent() {
    #expect(NetworkProxy.socks5(hostName: "127.0.0.1").timeout == .seconds(5))
    for script in [[], [.expect([5, 1, 0]), .send([5])], [.expect([5, 1, 0]), .send([5, 0, 5, 0])]]
      as [[ScriptedProxy.Step]]
    {
      let proxy = ScriptedProxy(script)
      var described = proxy.proxy
      described.timeout = .milliseconds(150)
      let server = server(described)
      let start = ContinuousClock.now
      #expect(!server.listen())
      #expect(ContinuousClock.now - start >= .milliseconds(150))
      #expect(server.serverError == .socketTimeout)
      #expect(
        server.errorString
          == "Network operation timed out (SOCKS5 proxy 127.0.0.1:\(proxy.port), set on this server)"
      )
      #expect(server.socketDescriptor == -1)
    }
  }

  @Test("Credentials are 1 to 255 bytes long each; otherwise no proxy is asked", arguments: [0, 256])
  func badCredentials(_ length: Int) {
    let text = String(repeating: "x", count: length)
    for (user, password) in [(text, "p"), ("u", text)] {
      let server = server(.socks5(hostName: "127.0.0.1", port: 9, user: user, password: password))
      fault_reset_counts()
      #expect(!server.listen())
      #expect(fault_calls(FAULT_SOCKET) == 0)
      #expect(server.serverError == .proxyAuthenticationRequired)
      #expect(
        server.errorString.hasPrefix("The proxy's user name and password must be 1 to 255 bytes long each (")
      )
    }
  }

  @Test("Credentials do not go to another machine in clear text, unless that is allowed")
  func clearText() {
    // No host is there: 192.0.2.0/24 is for documentation.
    var proxy = NetworkProxy.socks5(hostName: "192.0.2.1", user: "me", password: "secret")
    proxy.timeout = .milliseconds(1)
    let server = server(proxy)
    fault_reset_counts()
    #expect(!server.listen())
    #expect(fault_calls(FAULT_SOCKET) == 0)
    #expect(server.serverError == .proxyAuthenticationRequired)
    let refusal = "The proxy's credentials would go to another machine in clear text, which is not allowed ("
    #expect(server.errorString.hasPrefix(refusal))
    #expect(!server.errorString.contains("secret"))
    server.proxy.allowsClearTextCredentials = true
    #expect(!server.listen())
    #expect(fault_calls(FAULT_SOCKET) == 1)
    #expect(server.serverError != .proxyAuthenticationRequired)
  }

  @Test("A null address is refused without asking anybody")
  func null() {
    let server = server(.socks5(hostName: "127.0.0.1", port: 9))
    fault_reset_counts()
    #expect(!server.listen(address: .null))
    #expect(fault_calls(FAULT_SOCKET) == 0)
    #expect(server.serverError == .socketAddressNotAvailable)
  }

  @Test(
    "The kernel's errors on the way to the proxy are reported, and leave nothing open",
    arguments: [EMFILE, ENETUNREACH]
  )
  func kernel(_ errnum: CInt) {
    let server = server(.socks5(hostName: "127.0.0.1", port: 9))
    fault_reset_counts()
    fault_fail(errnum == EMFILE ? FAULT_SOCKET : FAULT_CONNECT, 1, 1, errnum)
    defer { fault_clear() }
    #expect(!server.listen())
    #expect(server.serverError == (errnum == EMFILE ? .socketResource : .network))
    #expect(fault_calls(FAULT_SOCKET) == fault_calls(FAULT_CLOSE) + (errnum == EMFILE ? 1 : 0))
  }
}
