// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// A client's side: CONNECT.
@Suite("Connecting through a proxy", .blocking, .timeLimit(.minutes(5)))
struct ProxySocketTests {
  private static let host = "host.example"
  private static let request: [UInt8] = [5, 1, 0, 3, 12] + Array(host.utf8) + [0, 80]
  private static let reply = ScriptedProxy.reply()
  // Made again each time: the leak sanitizer does not find the arrays in the cases of a global.
  private static var connects: [ScriptedProxy.Step] {
    [.expect([5, 1, 0]), .sendBytes([5, 0]), .expect(request), .sendBytes(reply + Array("hello".utf8))]
  }

  private func socket(_ proxy: ScriptedProxy, on base: EventBase? = nil) -> TCPSocket {
    let socket = TCPSocket(eventBase: base)
    socket.proxy = proxy.proxy
    return socket
  }

  @Test("K04: with the loop: the name is the proxy's to look up, and what follows the reply is the host's")
  func loop() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(Self.connects)
    let socket = socket(proxy, on: loop.base)
    let recorder = Recorder(socket)
    fault_reset_counts()
    socket.connectToHost(Self.host, port: 80)
    #expect(socket.state == .connecting)
    #expect(loop.run { socket.state == .connected }, "\(socket.errorString)")
    #expect(fault_calls(FAULT_GETADDRINFO) == 0)
    #expect(recorder.events.first == .connected)
    #expect(proxy.wrong == nil)
    #expect(socket.peerAddress == .null)
    #expect(socket.peerPort == 80)
    #expect(socket.waitForReadyRead(msec: 60_000))
    while socket.bytesAvailable < 5, socket.waitForReadyRead(msec: 60_000) {}
    #expect(socket.readAll() == Array("hello".utf8))
    let control = try #require(proxy.takeControl())
    socket.write("back")
    #expect(control.receive(exactly: 4) == Array("back".utf8))
    control.end()
    #expect(loop.run { socket.state == .unconnected })
  }

  @Test("Without a loop, by waiting; and with one, by waiting", arguments: [true, false])
  func waiting(_ hasLoop: Bool) throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(Self.connects)
    let socket = socket(proxy, on: hasLoop ? loop.base : nil)
    socket.connectToHost(Self.host, port: 80)
    #expect(socket.waitForConnected(msec: 60_000), "\(socket.errorString)")
    #expect(socket.state == .connected)
    while socket.bytesAvailable < 5, socket.waitForReadyRead(msec: 60_000) {}
    #expect(socket.readAll() == Array("hello".utf8))
    #expect(proxy.wrong == nil)
  }

  @Test("By a task")
  func tasks() async throws {
    try await onLoop { _ in
      let proxy = ScriptedProxy(Self.connects, [.send([5, 0, 5, 5])], [])
      let socket = self.socket(proxy, on: .current)
      try await socket.connect(to: Self.host, port: 80)
      #expect(text(try await socket.read(exactly: 5)) == "hello")
      let refused = self.socket(proxy, on: .current)
      await #expect(throws: SocketError.connectionRefused) {
        try await refused.connect(to: Self.host, port: 80)
      }
      let silent = self.socket(proxy, on: .current)
      await #expect(throws: SocketError.socketTimeout) {
        try await silent.connect(to: Self.host, port: 80, timeout: .milliseconds(50))
      }
      #expect(silent.state == .unconnected)
      #expect(
        try #require(proxy.takeControl(2)).receive(exactly: 4) == [5, 1, 0],
        "the greeting, then the end"
      )
    }
  }

  @Test(
    "An address goes as one, of either family",
    arguments: ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]
  )
  func address(_ literal: String) throws {
    let ipv6: [UInt8] = [4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    let bytes: [UInt8] = literal == "2001:db8::1" ? ipv6 : [1, 192, 0, 2, 1]
    let proxy = ScriptedProxy([
      .expect([5, 1, 0]), .send([5, 0]), .expect([5, 1, 0] + bytes + [1, 2]), .send(Self.reply),
    ])
    let socket = socket(proxy)
    socket.connectToHost(literal, port: 258)
    #expect(socket.waitForConnected(msec: 60_000), "\(socket.errorString)")
    #expect(proxy.wrong == nil)
    #expect(socket.peerAddress == HostAddress(literal))
    #expect(socket.peerPort == 258)
  }

  @Test(
    "A failure is reported after connectToHost(), with its text, and leaves nothing open",
    arguments: [
      ([.send([5, 0, 5, 4])], SocketError.hostNotFound, "Host not found"),
      ([.send([5, 0, 5, 5])], .connectionRefused, "Connection refused"),
      ([.send([5, 0xff])], .proxyAuthenticationRequired, "Proxy authentication failed"),
      ([.expect([5, 1, 0]), .close], .proxyConnectionClosed, "Connection to proxy closed prematurely"),
      ([.send([4])], .proxyProtocol, "SOCKS version 5 protocol error"),
    ] as [([ScriptedProxy.Step], SocketError, String)],
    [true, false]
  )
  func failures(_ row: ([ScriptedProxy.Step], SocketError, String), _ waits: Bool) throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(row.0)
    let socket = socket(proxy, on: loop.base)
    let recorder = Recorder(socket)
    fault_reset_counts()
    socket.connectToHost(Self.host, port: 80)
    #expect(recorder.events.isEmpty)
    if waits {
      #expect(!socket.waitForConnected(msec: 60_000))
    } else {
      #expect(loop.run { socket.state == .unconnected })
    }
    #expect(recorder.events == [.errorOccurred(row.1, .connecting)])
    #expect(socket.errorString == "\(row.2) (SOCKS5 proxy 127.0.0.1:\(proxy.port), set on this socket)")
    #expect(fault_calls(FAULT_SOCKET) == fault_calls(FAULT_CLOSE))
    #expect(fault_bad_closes() == 0)
    socket.proxy = .none
    let listener = Descriptors.listening()
    defer { close(listener) }
    socket.connectToHost("127.0.0.1", port: try #require(Endpoint(localOf: listener)).port)
    #expect(socket.waitForConnected(msec: 60_000), "it can connect at once")
  }

  @Test(
    "A silent proxy is given up at its deadline; one that connects to the host has none",
    arguments: [true, false]
  )
  func deadline(_ hasLoop: Bool) throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(
      [.expect([5, 1, 0])],
      [.expect([5, 1, 0]), .send([5, 0]), .expect(Self.request)]
    )
    for index in 0..<2 {
      let socket = socket(proxy, on: hasLoop ? loop.base : nil)
      if index == 0 { socket.proxy.timeout = .milliseconds(100) }
      socket.connectToHost(Self.host, port: 80)
      if index == 0 {
        #expect(hasLoop ? loop.run { socket.state == .unconnected } : !socket.waitForConnected(msec: 60_000))
        #expect(socket.error == .socketTimeout)
        #expect(socket.errorString.hasSuffix("set on this socket)"))
        #expect(socket.state == .unconnected)
      } else {
        #expect(!socket.waitForConnected(msec: 50))
        #expect(socket.error == .socketTimeout)
        #expect(socket.state == .connecting, "the attempt goes on")
        // On a busy machine the request may not have been sent yet, and it is sent only during a wait.
        let limit = ContinuousClock.now + Loop.limit
        while proxy.played < 2, ContinuousClock.now < limit { _ = socket.waitForConnected(msec: 10) }
        try #require(proxy.takeControl(1)).send(Self.reply)
        #expect(socket.waitForConnected(msec: 60_000))
      }
    }
  }

  @Test("A proxy that goes silent when it has the request is given up in time", arguments: [true, false])
  func silentAfterRequest(_ hasLoop: Bool) throws {
    let loop = try Loop()
    let proxy = ScriptedProxy([.expect([5, 1, 0]), .send([5, 0]), .expect(Self.request)])
    let socket = socket(proxy, on: hasLoop ? loop.base : nil)
    socket.proxy.timeout = .seconds(10)
    // Until the proxy has the request, which its thread may take long for.
    fault_stop_clock()
    defer { fault_reset_clock() }
    func look() {
      if hasLoop { loop.base.runOnce(timeout: .zero) } else { socket.waitForConnected(msec: 0) }
    }
    socket.connectToHost(Self.host, port: 80)
    let limit = time(nil) + 240
    while proxy.played == 0, time(nil) < limit {
      look()
      sched_yield()
    }
    #expect(proxy.played == 1 && proxy.wrong == nil)
    fault_advance_clock(39_900)
    for _ in 0..<5 { look() }
    #expect(socket.state == .connecting, "a host has four times as long")
    fault_advance_clock(200)
    if hasLoop {
      for _ in 0..<5 { look() }
    } else {
      #expect(!socket.waitForConnected(msec: 60_000))
    }
    #expect(socket.state == .unconnected)
    #expect(socket.error == .socketTimeout)
  }

  @Test(
    "Each address of a proxy has its whole time",
    .enabled(if: Machine.hasIPv6),
    arguments: [true, false]
  )
  func secondAddress(_ hasLoop: Bool) throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(Self.connects)
    // The first address of localhost does not answer: its queue is full.
    let listener = Descriptors.stream(AF_INET6)
    defer { close(listener) }
    let endpoint = try #require(Endpoint("::1", port: proxy.port))
    guard endpoint.bind(listener), listen(listener, 0) == 0 else { return }
    let queued = try #require(PlainClient("::1", port: proxy.port))
    #expect(Descriptors.waitReadable(listener))
    let socket = TCPSocket(eventBase: hasLoop ? loop.base : nil)
    socket.proxy = .socks5(hostName: "localhost", port: proxy.port)
    socket.proxy.timeout = Loop.limit
    socket.connectToHost(Self.host, port: 80)
    let isConnected =
      hasLoop ? loop.run { socket.state == .connected } : socket.waitForConnected(msec: 60_000)
    #expect(isConnected, "\(socket.errorString)")
    queued.end()
  }

  @Test("Given up in any state, it leaves nothing open", arguments: ["abort", "disconnect", "release"])
  func givenUp(_ how: String) throws {
    let loop = try Loop()
    let scripts: [[ScriptedProxy.Step]] = [
      [], [.expect([5, 1, 0]), .send([5])], [.expect([5, 1, 0]), .send([5, 0]), .expect(Self.request)],
    ]
    for script in scripts {
      let proxy = ScriptedProxy(script)
      var socket: TCPSocket? = self.socket(proxy, on: how == "release" ? nil : loop.base)
      fault_reset_counts()
      socket?.connectToHost(Self.host, port: 80)
      let hasLoop = how != "release"
      if hasLoop {
        #expect(loop.run { proxy.played == 1 })
      } else {
        let deadline = ContinuousClock.now + Loop.limit
        while proxy.played < 1, .now < deadline { socket?.waitForConnected(msec: 10) }
        #expect(proxy.played == 1)
      }
      switch how {
      case "abort": socket?.abort()
      case "disconnect": socket?.disconnectFromHost()
      default: socket = nil
      }
      loop.settle(turns: 3)
      #expect(socket?.state ?? .unconnected == .unconnected)
      #expect(fault_calls(FAULT_SOCKET) == fault_calls(FAULT_CLOSE))
    }
  }

  @Test("Loopback and localhost use no proxy; one that cannot connect is an unsupported operation")
  func routes() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let socket = TCPSocket(eventBase: nil)
    #expect(socket.proxy == .default)
    socket.proxy = .http(hostName: "a")
    for host in ["127.0.0.1", "localhost"] {
      socket.connectToHost(host, port: server.serverPort)
      #expect(socket.waitForConnected(msec: 60_000), "\(socket.errorString)")
      socket.abort()
    }
    socket.connectToHost("192.0.2.1", port: 80)
    #expect(!socket.waitForConnected(msec: 0))
    #expect(socket.error == .unsupportedSocketOperation)
    #expect(
      socket.errorString == "Operation on socket is not supported (HTTP proxy a:8080, set on this socket)"
    )
  }

  @Test(
    "K01, K06: through microsocks, with and without user and password",
    .enabled(if: RealProxy.isWanted(RealProxy.microsocksPath), "microsocks is not installed"),
    arguments: ["", "me"]
  )
  func microsocks(_ user: String) throws {
    try exchange(through: try RealProxy.microsocks(user: user, password: "secret").with(user: user))
  }

  @Test(
    "Through Dante",
    .enabled(if: RealProxy.isWanted(RealProxy.dantePath), "Dante is not installed")
  )
  func dante() throws {
    try exchange(through: try RealProxy.dante().with(user: ""))
  }

  private func exchange(through route: (proxy: RealProxy, way: NetworkProxy)) throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    for host in ["127.0.0.1", "localhost"] {
      let socket = TCPSocket(eventBase: nil)
      socket.proxy = route.way
      socket.connectToHost(host, port: server.serverPort)
      try #require(socket.waitForConnected(msec: 60_000), "\(socket.errorString)")
      try #require(server.waitForNewConnection(msec: 60_000))
      let accepted = try #require(server.nextPendingConnection())
      #expect(accepted.peerPort != socket.localPort, "it is the proxy that came")
      socket.write("there")
      #expect(accepted.waitForReadyRead(msec: 60_000))
      #expect(accepted.readAll() == Array("there".utf8))
      accepted.write("and back")
      #expect(socket.waitForReadyRead(msec: 60_000))
      #expect(socket.readAll() == Array("and back".utf8))
    }
    withExtendedLifetime(route.proxy) {}
    expectBalanced(server)
  }

  @Test(
    "A server behind Dante and a client through it find each other",
    .enabled(if: RealProxy.isWanted(RealProxy.dantePath), "Dante is not installed")
  )
  func bothEnds() throws {
    let proxy = try RealProxy.dante()
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy.proxy
    try #require(server.listen(), "\(server.errorString)")
    let client = TCPSocket(eventBase: nil)
    client.proxy = proxy.proxy
    client.connectToHost(server.serverAddress, port: server.serverPort)
    try #require(client.waitForConnected(msec: 60_000), "\(client.errorString)")
    try #require(server.waitForNewConnection(msec: 60_000), "\(server.errorString)")
    let accepted = try #require(server.nextPendingConnection())
    accepted.write("Greetings!")
    #expect(client.waitForReadyRead(msec: 60_000))
    #expect(client.readAll() == Array("Greetings!".utf8))
    expectBalanced(server)
  }

  @Test("A bound socket connects to the proxy from what it was bound to")
  func bound() throws {
    let proxy = ScriptedProxy(Self.connects)
    let socket = socket(proxy)
    #expect(socket.bind(address: .localHost))
    let port = socket.localPort
    socket.connectToHost(Self.host, port: 80)
    #expect(socket.waitForConnected(msec: 60_000), "\(socket.errorString)")
    #expect(socket.localPort == port)
  }

  @Test("A bound socket that cannot connect through its proxy is bound no more")
  func boundInVain() {
    let socket = TCPSocket(eventBase: nil)
    socket.proxy = NetworkProxy(.http, hostName: "127.0.0.1", port: 1)
    #expect(socket.bind(address: .localHost))
    fault_reset_counts()
    socket.connectToHost(Self.host, port: 80)
    #expect(socket.error == .unsupportedSocketOperation)
    #expect(fault_calls(FAULT_CLOSE) == 1)
  }

  @Test("No host has a name with a NUL in it, with a proxy or without", arguments: [false, true])
  func nul(isProxied: Bool) {
    let socket = TCPSocket(eventBase: nil)
    if isProxied { socket.proxy = .socks5(hostName: "127.0.0.1", port: 1) }
    socket.connectToHost("127.0.0.1\0.example.com", port: 80)
    #expect(!socket.waitForConnected(msec: 60_000))
    #expect(socket.error == .hostNotFound)
  }
}

extension RealProxy {
  fileprivate func with(user: String) -> (proxy: RealProxy, way: NetworkProxy) {
    var way = proxy
    way.user = user
    way.password = user.isEmpty ? "" : "secret"
    return (self, way)
  }
}
