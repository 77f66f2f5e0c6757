// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

extension Loop {
  /// Turns the loop until `condition` holds, also while the clock is stopped. What is waited for is often another
  /// thread's, which may be late.
  fileprivate func turn(until condition: () -> Bool) -> Bool {
    let deadline = time(nil) + Int(Self.limit / .seconds(1))
    while !condition() {
      guard time(nil) < deadline else { return false }
      base.runOnce(timeout: .zero)
      sched_yield()
    }
    return true
  }

  /// Gives the loop turns in which something does not happen.
  fileprivate func look() {
    for _ in 0..<20 {
      base.runOnce(timeout: .zero)
    }
  }
}

/// A proxy that goes away, or says no, after the server listens.
@Suite("Listening through a proxy: losing it", .blocking, .timeLimit(.minutes(5)))
struct ProxyLossTests {
  private final class Fixture {
    let loop: Loop
    let server: TCPServer
    var errors: [SocketError] = []
    var announced = 0

    init(
      _ proxy: ScriptedProxy,
      timeout: Duration = Loop.limit,
      _ settings: (inout ProxyListenOptions) -> Void = { _ in }
    ) throws {
      loop = try Loop()
      server = TCPServer(eventBase: loop.base)
      server.proxy = proxy.proxy
      server.proxy.timeout = timeout
      settings(&server.proxyListenOptions)
      server.acceptError.connect { [unowned self] in errors.append($0) }
      server.newConnection.connect { [unowned self] in announced += 1 }
      try #require(server.listen(), "\(server.errorString)")
    }
  }

  @Test(
    "Reported once, and the proxy is asked again after a back-off, for the same port; what comes then is served",
    arguments: [
      ([.close], SocketError.proxyConnectionClosed, "Connection to proxy closed prematurely"),
      ([.reset], .proxyConnectionClosed, "Connection to proxy closed prematurely"),
      ([.send([5, 0, 0]), .close], .proxyConnectionClosed, "Connection to proxy closed prematurely"),
      ([.send([5, 1, 0, 1, 0, 0, 0, 0, 0, 0])], .network, "General SOCKSv5 server failure"),
      ([.send([5, 6])], .network, "TTL expired"),
      ([.send([4])], .proxyProtocol, "SOCKS version 5 protocol error"),
      ([.send([5, 0, 0, 3])], .proxyProtocol, "SOCKS version 5 protocol error"),
    ] as [([ScriptedProxy.Step], SocketError, String)]
  )
  func lost(_ end: [ScriptedProxy.Step], _ error: SocketError, _ text: String) throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    let proxy = ScriptedProxy(ScriptedProxy.binds() + end, ScriptedProxy.binds(wish: 1286))
    let it = try Fixture(proxy)
    #expect(it.loop.turn { !it.errors.isEmpty })
    #expect(it.errors == [error])
    #expect(it.server.serverError == error)
    #expect(it.server.errorString == "\(text) (SOCKS5 proxy 127.0.0.1:\(proxy.port), set on this server)")
    #expect(it.server.isListening, "it goes on by itself")
    #expect(it.server.socketDescriptor == -1)
    #expect(it.server.serverPort == 1286, "where it was")
    #expect(it.server.proxyBindings.isEmpty)
    it.loop.look()
    #expect(proxy.played == 1, "not before its time")
    fault_advance_clock(100)
    #expect(it.loop.turn { !it.server.proxyBindings.isEmpty })
    #expect(proxy.wrong == nil)
    #expect(proxy.waitUntilPlayed(2))
    try #require(proxy.takeControl(1)).send(ScriptedProxy.reply())
    #expect(it.loop.turn { it.announced == 1 })
    #expect(it.errors.count == 1)
    #expect(it.server.statistics.accepted == 1)
    expectBalanced(it.server)
  }

  @Test("An episode is reported once however long it lasts, with longer and longer pauses up to 10 seconds")
  func backOff() throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    // An address of its own: on 127.0.0.1 another test may take the port as soon as it is free.
    var proxy: ScriptedProxy? = ScriptedProxy(on: "127.0.0.83", [ScriptedProxy.binds() + [.close]])
    let it = try Fixture(try #require(proxy))
    proxy = nil
    #expect(it.loop.turn { !it.errors.isEmpty })
    var waited: [Int64] = []
    for _ in 0..<9 {
      fault_reset_counts()
      var milliseconds: Int64 = 0
      while fault_calls(FAULT_CONNECT) == 0 && milliseconds < 20_000 {
        fault_advance_clock(100)
        milliseconds += 100
        it.loop.look()
      }
      waited.append(milliseconds)
    }
    #expect(waited == [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
    #expect(it.errors == [.proxyConnectionClosed])
    it.server.close()
    #expect(!it.server.isListening)
    fault_reset_counts()
    fault_advance_clock(20_000)
    it.loop.look()
    #expect(fault_calls(FAULT_SOCKET) == 0)
  }

  @Test("A proxy's name is looked up when it is first asked, and when it was lost; not for each peer")
  func lookups() throws {
    let anyPort: [ScriptedProxy.Step] = [.send([5, 0] + ScriptedProxy.reply([1, 2, 3, 4], port: 1286))]
    let proxy = ScriptedProxy(anyPort, anyPort, anyPort + [.close], anyPort)
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.proxy = proxy.proxy
    server.proxy.hostName = "localhost"
    fault_reset_counts()
    try #require(server.listen(), "\(server.errorString)")
    // Each lookup has a descriptor that signals its end.
    #expect(fault_calls(FAULT_EVENTFD) == 1)
    for index in 0..<2 {
      try #require(proxy.takeControl(index)).send(ScriptedProxy.reply())
      #expect(loop.turn { server.hasPendingConnections && proxy.played > index + 1 })
      #expect(server.nextPendingConnection()?.peerPort == 4660)
    }
    #expect(fault_calls(FAULT_EVENTFD) == 1)
    #expect(loop.turn { proxy.played == 4 && !server.proxyBindings.isEmpty })
    #expect(fault_calls(FAULT_EVENTFD) == 2)
    expectBalanced(server)
  }

  @Test("A port that the proxy does not give twice is given up for any other, at once and without an error")
  func anotherPort() throws {
    let proxy = ScriptedProxy(
      ScriptedProxy.binds(),
      [.expect([5, 1, 0]), .send([5, 0]), .expect(ScriptedProxy.request(port: 1286)), .send([5, 1])],
      ScriptedProxy.binds(on: 99)
    )
    let it = try Fixture(proxy)
    var moved = 0
    it.server.serverAddressChanged.connect { moved += 1 }
    try #require(proxy.takeControl()).send(ScriptedProxy.reply())
    #expect(it.loop.turn { moved == 1 })
    #expect(it.server.serverPort == 99)
    #expect(it.errors == [])
    #expect(proxy.wrong == nil)
    expectBalanced(it.server)
  }

  @Test("A silent proxy is given up at its deadline, by the loop's timer")
  func deadline() throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    let proxy = ScriptedProxy(ScriptedProxy.binds(), [.expect([5, 1, 0])])
    let it = try Fixture(proxy, timeout: .seconds(5))
    try #require(proxy.takeControl()).send(ScriptedProxy.reply())
    #expect(it.loop.turn { it.announced == 1 && proxy.played == 2 })
    fault_advance_clock(4900)
    it.loop.look()
    // One that waits for peers has no deadline, one that is asked has.
    #expect(it.errors == [])
    fault_advance_clock(200)
    #expect(it.loop.turn { !it.errors.isEmpty })
    #expect(it.errors == [.socketTimeout])
    #expect(it.server.isListening)
  }

  @Test("Waiting for a peer has no deadline")
  func patience() throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let it = try Fixture(proxy)
    fault_advance_clock(24 * 3600 * 1000)
    it.loop.look()
    #expect(it.errors == [])
    try #require(proxy.takeControl()).send(ScriptedProxy.reply())
    #expect(it.loop.turn { it.announced == 1 })
  }

  @Test(
    "Asking again fails at once, and the error's handler ends the server: so does the peer's connection",
    arguments: [true, false]
  )
  func endedWhileAskingAnew(_ closes: Bool) throws {
    defer { fault_clear() }
    let proxy = ScriptedProxy(ScriptedProxy.binds())
    let loop = try Loop()
    var server: TCPServer? = TCPServer(eventBase: loop.base)
    server?.proxy = proxy.proxy
    var announced = 0
    var errors: [SocketError] = []
    server?.newConnection.connect { announced += 1 }
    server?.acceptError.connect { error in
      errors.append(error)
      if closes { server?.close() } else { server = nil }
    }
    try #require(server?.listen() == true)
    let control = try #require(proxy.takeControl())
    fault_fail(FAULT_SOCKET, 1, 1, EMFILE)
    control.send(ScriptedProxy.reply())
    #expect(loop.turn { !errors.isEmpty })
    #expect(errors == [.socketResource])
    #expect(control.nextInput() == .end)
    #expect(announced == 0)
    if let server { expectBalanced(server) }
    server = nil
  }

  @Test("A forked child that closes its copy of the server does not reach its parent's")
  func forking() async {
    await #expect(processExitsWith: .success) {
      let proxy = ScriptedProxy(ScriptedProxy.binds())
      let it = try Fixture(proxy)
      // Swift hides it, and means what a child must not do.
      typealias Fork = @convention(c) () -> pid_t
      guard let symbol = unsafe dlsym(nil, "fork") else { fatalError("no fork()") }
      let child = unsafe unsafeBitCast(symbol, to: Fork.self)()
      if child == 0 {
        it.server.close()
        _exit(0)
      }
      guard waitpid(child, nil, 0) == child, let control = proxy.takeControl() else { fatalError("no child") }
      control.send(ScriptedProxy.reply())
      guard it.loop.turn(until: { it.announced == 1 }) else { fatalError("no peer") }
    }
  }

  @Test("Without asking again a lost proxy ends the server, with one error")
  func ends() throws {
    let proxy = ScriptedProxy(ScriptedProxy.binds() + [.close])
    let it = try Fixture(proxy) { $0.rebinds = false }
    var wasListening = true
    it.server.acceptError.connect { [unowned it] _ in wasListening = it.server.isListening }
    #expect(it.loop.turn { !it.errors.isEmpty })
    #expect(!wasListening)
    #expect(it.errors == [.proxyConnectionClosed])
    #expect(it.server.serverPort == 0)
    it.server.proxy = .none
    #expect(it.server.listen(address: .localHost), "it can listen at once")
  }

  @Test("In strict mode it waits for resumeAccepting(), which asks at once")
  func strict() throws {
    defer { fault_reset_clock() }
    let proxy = ScriptedProxy(ScriptedProxy.binds() + [.close], ScriptedProxy.binds(wish: 1286))
    let it = try Fixture(proxy)
    it.server.overloadPolicy = .strict
    #expect(it.loop.turn { !it.errors.isEmpty })
    fault_advance_clock(60_000)
    it.loop.look()
    #expect(proxy.played == 1)
    #expect(!it.server.waitForNewConnection(msec: -1), "nothing would ever come")
    it.server.resumeAccepting()
    #expect(it.loop.turn { !it.server.proxyBindings.isEmpty })
  }

  @Test("A wait without a loop reports the loss, and the next one asks the proxy again")
  func waiting() throws {
    let proxy = ScriptedProxy(
      ScriptedProxy.binds() + [.close],
      ScriptedProxy.binds(wish: 1286) + [.send(ScriptedProxy.reply())]
    )
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy.proxy
    try #require(server.listen())
    var timedOut = true
    #expect(!server.waitForNewConnection(msec: 60_000, timedOut: &timedOut))
    #expect(!timedOut)
    #expect(server.serverError == .proxyConnectionClosed)
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == 4660)
    expectBalanced(server)
  }

  @Test(
    "Handlers may close, release or re-listen",
    arguments: ["close", "release", "listen", "wait", "finish"]
  )
  func reentrancy(_ what: String) throws {
    for signal in ["newConnection", "acceptError", "serverAddressChanged"] {
      let loop = try Loop()
      let end: [ScriptedProxy.Step] =
        signal == "acceptError" ? [.close] : [.send(ScriptedProxy.reply())]
      let proxy = ScriptedProxy(ScriptedProxy.binds() + end, ScriptedProxy.binds(on: 77, wish: 1286))
      var server: TCPServer? = TCPServer(eventBase: loop.base)
      server?.proxy = proxy.proxy
      try #require(server?.listen() == true)
      var done = false
      let act = {
        guard !done else { return }
        done = true
        switch what {
        case "close": server?.close()
        case "release": server = nil
        case "wait": server?.waitForNewConnection(msec: 20)
        case "finish": server?.finish()
        default:
          server?.close()
          server?.proxy = .none
          #expect(server?.listen(address: .localHost) == true)
        }
      }
      switch signal {
      case "newConnection": server?.newConnection.connect(act)
      case "acceptError": server?.acceptError.connect { _ in act() }
      default: server?.serverAddressChanged.connect(act)
      }
      #expect(loop.turn { done })
      loop.look()
      #expect(server?.isListening == ["close": false, "finish": false, "listen": true, "wait": true][what])
      if let server { expectBalanced(server) }
      server = nil
    }
  }
}
