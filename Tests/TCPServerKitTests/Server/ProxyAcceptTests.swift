// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Peers that come through a scripted proxy: with the loop, by waiting, and by tasks.
@Suite("Listening through a proxy: peers", .blocking, .timeLimit(.minutes(5)))
struct ProxyAcceptTests {
  private func listening(
    _ proxy: ScriptedProxy,
    on base: EventBase? = nil,
    _ settings: (inout ProxyListenOptions) -> Void = { _ in }
  ) throws -> OverridingServer {
    let server = OverridingServer(eventBase: base)
    server.proxy = proxy.proxy
    settings(&server.proxyListenOptions)
    try #require(server.listen(), "\(server.errorString)")
    return server
  }

  private static let peer = HostAddress("192.0.2.7")

  @Test(
    "With the loop: announced on the second reply's last byte, with its address, and the stream is the peer's"
  )
  func loop() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(ScriptedProxy.binds(), ScriptedProxy.binds(on: 1287, wish: 1286))
    let server = try listening(proxy, on: loop.base)
    var announced = 0
    var moved = 0
    server.newConnection.connect { announced += 1 }
    server.serverAddressChanged.connect { moved += 1 }
    let control = try #require(proxy.takeControl())
    loop.settle()
    #expect(announced == 0, "the first reply is no connection")
    #expect(server.socketOption(.keepAlive) == 1)
    #expect(server.socketOption(.keepAliveIdle) == 60)
    let tcp = CInt(IPPROTO_TCP)
    for byte in ScriptedProxy.reply().dropLast() {
      control.send([byte])
      loop.settle(turns: 2)
      #expect(announced == 0)
    }
    control.send(ScriptedProxy.reply().suffix(1) + Array("hello".utf8))
    #expect(loop.run { announced == 1 })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == Self.peer)
    #expect(socket.peerPort == 4660)
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(socket.readAll() == Array("hello".utf8))
    socket.write("back")
    #expect(control.receive(exactly: 4) == Array("back".utf8))
    #expect(socket.socketOption(.keepAlive) == 0, "that was for the time of waiting")
    let plain = Descriptors.stream()
    defer { close(plain) }
    #expect(
      socket.socketOption(.keepAliveIdle).map { CInt($0) } == Descriptors.option(plain, tcp, TCP_KEEPIDLE)
    )
    #expect(
      socket.socketOption(.keepAliveInterval).map { CInt($0) }
        == Descriptors.option(plain, tcp, TCP_KEEPINTVL)
    )

    #expect(loop.run { moved == 1 })
    #expect(server.isListening)
    #expect(server.serverPort == 1287, "the proxy was asked anew, for the same port, and gave another")
    #expect(proxy.wrong == nil)
    #expect(announced == 1)
    #expect(server.statistics.accepted == 1)
    #expect(server.statistics.delivered == 1)
    expectBalanced(server)
  }

  @Test("A port that stays is not reported as changed; second reply and data in one packet with the first")
  func samePort() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(
      [
        .send(
          [5, 0] + ScriptedProxy.reply([1, 2, 3, 4], port: 1286) + ScriptedProxy.reply() + Array("x".utf8)
        )
      ],
      ScriptedProxy.binds(wish: 1286)
    )
    let server = OverridingServer(eventBase: loop.base)
    server.proxy = proxy.proxy
    var announced = 0
    var moved = 0
    server.newConnection.connect { announced += 1 }
    server.serverAddressChanged.connect { moved += 1 }
    try #require(server.listen())
    #expect(announced == 0, "nobody expects it from within listen()")
    #expect(loop.run { announced == 1 })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(socket.readAll() == Array("x".utf8))
    #expect(loop.run { !server.proxyBindings.isEmpty })
    #expect(moved == 0)
    #expect(server.serverPort == 1286)
    expectBalanced(server)
  }

  @Test("Without a loop, by waiting: one call a peer; a timeout leaves everything as it is")
  func waiting() throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds(), ScriptedProxy.binds(wish: 1286))
    let server = try listening(proxy)
    var timedOut = false
    #expect(!server.waitForNewConnection(msec: 10, timedOut: &timedOut))
    #expect(timedOut)
    #expect(server.serverError == .socketTimeout)
    #expect(server.errorString == "Network operation timed out")
    #expect(server.isListening)
    for index in 0..<2 {
      #expect(proxy.waitUntilPlayed(index + 1))
      let control = try #require(proxy.takeControl(index))
      control.send(ScriptedProxy.reply(port: UInt16(index)))
      #expect(server.waitForNewConnection(msec: 60_000, timedOut: &timedOut))
      #expect(!timedOut)
      #expect(server.waitForNewConnection(), "still pending")
      #expect(server.nextPendingConnection()?.peerPort == UInt16(index))
      if index == 0 {
        // The waits drive the next request as well, which the proxy's thread may be late to answer.
        let limit = ContinuousClock.now + Loop.limit
        while proxy.played < 2, .now < limit { #expect(!server.waitForNewConnection(msec: 20)) }
      }
    }
    expectBalanced(server)
  }

  @Test("Waits within newConnection nest 16 deep through a proxy, too, then refuse")
  func nestedWaits() throws {
    let peer = ScriptedProxy.reply([1, 2, 3, 4], port: 1286) + ScriptedProxy.reply()
    let proxy = ScriptedProxy(on: "127.0.0.1", Array(repeating: [.send([5, 0] + peer)], count: 17))
    let server = try listening(proxy)
    var depth = 0
    var deepest = 0
    var refusal: String?
    server.newConnection.connect { [unowned server] in
      depth += 1
      deepest = max(deepest, depth)
      _ = server.nextPendingConnection()
      if !server.waitForNewConnection(msec: 60_000), refusal == nil {
        refusal = server.errorString
        // Ends the waits around this one, which would wait on.
        server.close()
      }
      depth -= 1
    }
    #expect(!server.waitForNewConnection(msec: 60_000), "the handler takes them all")
    #expect(deepest == 16)
    #expect(refusal == "waitForNewConnection() called from within itself too often")
    expectBalanced(server)
  }

  @Test("waitForNewConnection(0) looks, and takes a peer that is there")
  func polling() throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let server = try listening(proxy)
    #expect(!server.waitForNewConnection())
    let control = try #require(proxy.takeControl())
    control.send(ScriptedProxy.reply())
    #expect(Descriptors.waitForBytes(server.socketDescriptor, 10))
    #expect(server.waitForNewConnection())
    server.close()
    #expect(!server.waitForNewConnection(), "not listening")
    #expect(control.nextInput() == .end)
    #expect(server.statistics.discardedOnClose == 1)
    expectBalanced(server)
  }

  @Test("incomingConnection(_:) gets a descriptor that native calls can use; unqueued, it is the override's")
  func overriding() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(ScriptedProxy.binds(), ScriptedProxy.binds(wish: 1286))
    let server = try listening(proxy, on: loop.base)
    var order: [String] = []
    server.onIncoming = { server, descriptor in
      order.append("incoming")
      let flags = DescriptorFlags(descriptor)
      #expect(flags.isNonBlocking && flags.isCloseOnExec)
      unsafe _ = send(descriptor, "native", 6, CInt(MSG_NOSIGNAL))
      close(descriptor)
    }
    server.newConnection.connect { order.append("new") }
    let control = try #require(proxy.takeControl())
    control.send(ScriptedProxy.reply())
    #expect(loop.run { order.count == 2 })
    #expect(order == ["incoming", "new"])
    #expect(control.receive(exactly: 6) == Array("native".utf8))
    #expect(control.nextInput() == .end)
    #expect(server.nextPendingConnection() == nil)
    #expect(server.statistics.accepted == 1)
    #expect(server.statistics.delivered == 1)
    expectBalanced(server)
  }

  @Test(
    "A socket that takes the descriptor within incomingConnection(_:) has the peer's address, not the proxy's"
  )
  func overridingWithSocket() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(ScriptedProxy.binds(), ScriptedProxy.binds(wish: 1286))
    let server = try listening(proxy, on: loop.base)
    var told: HostAddress?
    var own: TCPSocket?
    server.onIncoming = { server, descriptor in
      told = server.incomingPeer?.address
      let socket = TCPSocket(eventBase: server.eventBase)
      #expect(socket.setSocketDescriptor(descriptor))
      own = socket
    }
    let control = try #require(proxy.takeControl())
    control.send(ScriptedProxy.reply())
    #expect(loop.run { own != nil })
    #expect(told == Self.peer)
    #expect(own?.peerAddress == Self.peer)
    #expect(own?.peerPort == 4660)
    expectBalanced(server)
  }

  @Test("The limit and a pause keep a peer waiting, not more of them; room, and resuming, let it in")
  func limit() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(
      ScriptedProxy.binds(),
      ScriptedProxy.binds(wish: 1286),
      ScriptedProxy.binds(wish: 1286)
    )
    let server = try listening(proxy, on: loop.base)
    var announced = 0
    server.newConnection.connect { announced += 1 }
    server.maxPendingConnections = 1
    for index in 0..<2 {
      #expect(loop.run { proxy.played == index + 1 })
      #expect(loop.run { !server.proxyBindings.isEmpty })
      try #require(proxy.takeControl(index)).send(ScriptedProxy.reply(port: UInt16(index)))
      loop.settle()
    }
    #expect(announced == 1)
    #expect(server.nextPendingConnection()?.peerPort == 0)
    #expect(announced == 1, "not from within the call")
    #expect(loop.run { announced == 2 })

    server.pauseAccepting()
    #expect(loop.run { proxy.played == 3 })
    #expect(loop.run { !server.proxyBindings.isEmpty })
    try #require(proxy.takeControl(2)).send(ScriptedProxy.reply(port: 2))
    loop.settle()
    #expect(server.nextPendingConnection()?.peerPort == 1)
    loop.settle()
    #expect(announced == 2)
    server.resumeAccepting()
    #expect(loop.run { announced == 3 })
    #expect(server.nextPendingConnection()?.peerPort == 2)
    expectBalanced(server)
  }

  @Test("One connection only, when set so: then the server has stopped, visibly, in the handler already")
  func once() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let server = try listening(proxy, on: loop.base) { $0.rebinds = false }
    var wasListening: Bool?
    var errors = 0
    server.newConnection.connect { [unowned server] in wasListening = server.isListening }
    server.acceptError.connect { _ in errors += 1 }
    let control = try #require(proxy.takeControl())
    control.send(ScriptedProxy.reply())
    #expect(loop.run { wasListening != nil })
    #expect(wasListening == false)
    #expect(server.serverPort == 0)
    #expect(server.socketDescriptor == -1)
    #expect(errors == 0)
    let socket = try #require(server.nextPendingConnection())
    socket.write("still here")
    #expect(control.receive(exactly: 10) == Array("still here".utf8))
    expectBalanced(server)
  }

  @Test("Several requests at once: each has its port, and each takes its peer")
  func several() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(
      ScriptedProxy.binds(on: 1),
      ScriptedProxy.binds(on: 2),
      ScriptedProxy.binds(on: 3),
      [.expect([5, 1, 0])],
      [.expect([5, 1, 0])],
      [.expect([5, 1, 0])]
    )
    let server = try listening(proxy, on: loop.base) { $0.simultaneousBindings = 3 }
    #expect(server.serverPort == 1)
    #expect(loop.run { server.proxyBindings.count == 3 })
    #expect(server.proxyBindings.map(\.port) == [1, 2, 3])
    #expect(loop.run { proxy.played >= 3 })
    for index in [2, 0, 1] {
      try #require(proxy.takeControl(index)).send(ScriptedProxy.reply(port: UInt16(index)))
      #expect(loop.run { server.hasPendingConnections })
      #expect(server.nextPendingConnection()?.peerPort == UInt16(index))
    }
    #expect(server.proxyBindings.isEmpty)
    #expect(server.isListening, "it is asking anew")
    server.close()
    expectBalanced(server)
  }

  @Test("finish() lets in the peers that have come, whatever the limit says, and asks no more")
  func finish() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(ScriptedProxy.binds(on: 1), ScriptedProxy.binds(on: 2))
    let server = try listening(proxy, on: loop.base) { $0.simultaneousBindings = 2 }
    #expect(loop.run { server.proxyBindings.count == 2 })
    server.maxPendingConnections = 0
    #expect(loop.run { proxy.played == 2 })
    let idle = try #require(proxy.takeControl(1))
    try #require(proxy.takeControl(0)).send(ScriptedProxy.reply())
    loop.settle()
    #expect(!server.hasPendingConnections)
    server.finish()
    #expect(!server.isListening)
    #expect(server.nextPendingConnection()?.peerAddress == Self.peer)
    #expect(idle.nextInput() == .end)
    expectBalanced(server)
  }

  @Test("Only the expected peer: the proxy gets its address, and another is not let in")
  func expectedPeer() throws {
    let loop = try Loop()
    let request: [UInt8] = [5, 2, 0, 1, 192, 0, 2, 7, 0, 0]
    let proxy = ScriptedProxy([
      .expect([5, 1, 0]), .send([5, 0]), .expect(request), .send(ScriptedProxy.reply([1, 2, 3, 4], port: 9)),
      .send(ScriptedProxy.reply([192, 0, 2, 8])),
    ])
    let server = try listening(proxy, on: loop.base) { $0.expectedPeer = HostAddress("192.0.2.7") ?? .null }
    var errors: [SocketError] = []
    server.acceptError.connect { errors.append($0) }
    #expect(loop.run { !errors.isEmpty })
    #expect(errors == [.proxyProtocol])
    #expect(server.errorString.hasPrefix("The proxy passed on 192.0.2.8, not the peer that is expected ("))
    #expect(proxy.wrong == nil)
    #expect(server.statistics.accepted == 0)
    #expect(!server.hasPendingConnections)
  }

  @Test("A socket option that was set is the connection's")
  func options() throws {
    let loop = try Loop()
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let server = OverridingServer(eventBase: loop.base)
    server.proxy = proxy.proxy
    #expect(server.setSocketOption(.lowDelay, 1))
    #expect(server.setSocketOption(.keepAlive, 1))
    try #require(server.listen())
    try #require(proxy.takeControl()).send(ScriptedProxy.reply())
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.socketOption(.lowDelay) == 1)
    #expect(socket.socketOption(.keepAlive) == 1)
  }
}
