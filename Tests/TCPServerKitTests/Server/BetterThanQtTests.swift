// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// What is better than Qt on purpose. Each test fails on what Qt does.
@Suite("Better than Qt", .blocking)
struct BetterThanQtTests {
  private func makeServer(_ loop: Loop, maxPending: Int = 30) throws -> TCPServer {
    let server = TCPServer(eventBase: loop.base)
    server.maxPendingConnections = maxPending
    try #require(server.listen(address: .localHost))
    return server
  }

  @Test("Raising maxPendingConnections resumes accepting", arguments: [0, 1])
  func raisingTheLimit(from limit: Int) throws {
    let loop = try Loop()
    let server = try makeServer(loop, maxPending: limit)
    let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
    #expect(loop.run { server.statistics.pending == UInt64(limit) })
    loop.settle()
    #expect(server.statistics.pending == UInt64(limit))
    server.maxPendingConnections = 30
    #expect(loop.run { server.statistics.pending == clients.count })
    expectBalanced(server)
  }

  @Test("nextPendingConnection() does not undo pauseAccepting()")
  func pauseLasts() throws {
    let loop = try Loop()
    let server = try makeServer(loop)
    let first = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    server.pauseAccepting()
    let second = try #require(PlainClient(to: server))
    #expect(server.nextPendingConnection()?.peerPort == first.port)
    loop.settle()
    #expect(!server.hasPendingConnections)
    #expect(server.statistics.acceptQueue == 1)
    server.resumeAccepting()
    #expect(loop.run { server.hasPendingConnections })
    #expect(server.nextPendingConnection()?.peerPort == second.port)
    expectBalanced(server)
  }

  @Test("pauseAccepting() and resumeAccepting() are harmless on a server that does not listen")
  func pausingNothing() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.pauseAccepting()
    server.resumeAccepting()
    #expect(server.listen(address: .localHost))
    let client = PlainClient(to: server)
    #expect(loop.run { server.hasPendingConnections })
    client?.end()
    server.close()
    server.resumeAccepting()
    server.pauseAccepting()
    #expect(server.serverError == .unknown)
    expectBalanced(server)
  }

  @Test("A pause asked for before listen() holds")
  func pausedBeforehand() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.pauseAccepting()
    #expect(server.listen(address: .localHost))
    let client = PlainClient(to: server)
    loop.settle()
    #expect(!server.hasPendingConnections)
    server.resumeAccepting()
    #expect(loop.run { server.hasPendingConnections })
    client?.end()
    expectBalanced(server)
  }

  @Test(
    "A bad literal is no address, so that a server cannot listen everywhere by mistake",
    arguments: [
      "not-an-ip", "127.1", "1.2.3.4.5", "localhost", "", " ", "::1%nowhere", "127.0.0.1\0", "0x7f.0.0.1",
    ]
  )
  func badLiteral(_ text: String) {
    #expect(HostAddress(text) == nil)
  }

  @Test("The null address is refused as not available instead of meaning every interface")
  func nullAddress() throws {
    let server = TCPServer(eventBase: try Loop().base)
    #expect(!server.listen(address: .null))
    #expect(server.serverError == .socketAddressNotAvailable)
    #expect(server.serverError.rawValue == 9)
    #expect(server.errorString == "The address is not available")
    #expect(!server.isListening)
    #expect(server.socketDescriptor == -1)
  }

  @Test("The kernel's queue is as long as the kernel allows, not 50")
  func backlog() throws {
    let maximum = contents(of: "/proc/sys/net/core/somaxconn").split(separator: "\n").first
    let limit = try #require(maximum.flatMap { UInt64($0) })
    let server = TCPServer(eventBase: nil)
    #expect(server.listenBacklogSize == .max)
    try #require(server.listen(address: .localHost))
    #expect(server.statistics.acceptQueueLimit == limit)
  }

  @Test(
    "listenBacklogSize sets the kernel's queue of the next listen()",
    arguments: [1, 50, 100_000_000_000]
  )
  func backlogSize(_ size: Int) throws {
    let server = TCPServer(eventBase: nil)
    server.listenBacklogSize = size
    try #require(server.listen(address: .localHost))
    let whole = TCPServer(eventBase: nil)
    try #require(whole.listen(address: .localHost))
    #expect(server.statistics.acceptQueueLimit == min(UInt64(size), whole.statistics.acceptQueueLimit))
  }

  @Test("A failed listen() leaves no descriptor behind, and the server can listen at once")
  func failedListen() throws {
    let taken = TCPServer(eventBase: nil)
    try #require(taken.listen(address: .localHost))
    let server = TCPServer(eventBase: try Loop().base)
    fault_reset_counts()
    #expect(!server.listen(address: .localHost, port: taken.serverPort))
    #expect(fault_calls(FAULT_SOCKET) == 1)
    #expect(fault_calls(FAULT_CLOSE) == 1)
    #expect(fault_bad_closes() == 0)
    #expect(server.socketDescriptor == -1)
    #expect(server.serverAddress == .null)
    #expect(server.serverPort == 0)
    #expect(server.listen(address: .localHost))
    #expect(server.serverError == .addressInUse, "the last error stays until there is another")
  }

  @Test("No proxy is taken from the environment")
  func environment() async {
    await #expect(processExitsWith: .success) {
      for name in ["all_proxy", "http_proxy", "ALL_PROXY", "HTTP_PROXY", "socks_proxy"] {
        unsafe _ = setenv(name, "socks5h://127.0.0.1:1", 1)
      }
      let server = TCPServer(eventBase: nil)
      guard server.listen(), server.isListening,
        server.serverAddress == .any || server.serverAddress == .anyIPv4
      else { exit(1) }
    }
  }

  @Test("A connection outlives its server", arguments: ["released", "closed"])
  func connectionOutlivesServer(_ end: String) throws {
    let loop = try Loop()
    var server: TCPServer? = try makeServer(loop)
    let client = try #require(server.flatMap { PlainClient(to: $0) })
    #expect(loop.run { server?.hasPendingConnections == true })
    let socket = try #require(server?.nextPendingConnection())
    if end == "released" {
      server = nil
    } else {
      server?.close()
    }
    loop.settle()
    #expect(socket.state == .connected)
    socket.write("still here")
    #expect(client.nextInput() == .bytes(Array("still here".utf8)))
  }

  @Test("waitForNewConnection() is true at once when a connection is pending", arguments: [0, 10_000])
  func waitingWithOnePending(msec: Int) throws {
    let loop = try Loop()
    let server = try makeServer(loop)
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    var timedOut = true
    #expect(server.waitForNewConnection(msec: msec, timedOut: &timedOut))
    #expect(!timedOut)
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(server)
  }

  @Test("The first timeout after an accept is a timeout")
  func firstTimeout() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let client = PlainClient(to: server)
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection() != nil)
    for _ in 0..<2 {
      var timedOut = false
      #expect(!server.waitForNewConnection(msec: 1, timedOut: &timedOut))
      #expect(timedOut)
      #expect(server.serverError == .socketTimeout)
      #expect(server.errorString == "Network operation timed out")
    }
    client?.end()
    expectBalanced(server)
  }

  @Test("At the limit a wait with nothing pending times out; it never says true without a connection")
  func waitingAtLimitZero() throws {
    let server = TCPServer(eventBase: nil)
    server.maxPendingConnections = 0
    try #require(server.listen(address: .localHost))
    let client = PlainClient(to: server)
    var timedOut = false
    #expect(!server.waitForNewConnection(msec: 5, timedOut: &timedOut))
    #expect(timedOut)
    #expect(server.statistics.accepted == 0)
    client?.end()
  }

  @Test("A wait in which accepting fails is not true")
  func waitingWhileAcceptFails() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let client = PlainClient(to: server)
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE)
    defer { fault_clear() }
    var timedOut = true
    #expect(!server.waitForNewConnection(msec: 60_000, timedOut: &timedOut))
    #expect(!timedOut)
    #expect(server.serverError == .socketResource)
    #expect(server.waitForNewConnection(msec: 60_000), "nothing was lost")
    client?.end()
    expectBalanced(server)
  }

  @Test("A lack of descriptors is reported once, and accepting resumes by itself", arguments: [false, true])
  func lackOfDescriptors(afterAnAccept: Bool) throws {
    let loop = try Loop()
    let server = try makeServer(loop)
    var told: [SocketError] = []
    server.acceptError.connect { told.append($0) }
    var clients: [PlainClient?] = []
    if afterAnAccept {
      clients.append(PlainClient(to: server))
      #expect(loop.run { server.hasPendingConnections })
    }
    fault_fail(FAULT_ACCEPT4, 1, 3, EMFILE)
    defer { fault_clear() }
    clients.append(PlainClient(to: server))
    #expect(loop.run { server.statistics.pending == clients.count })
    #expect(told == [.socketResource])
    #expect(server.errorString == "Out of resources")
    #expect(server.statistics.resourceErrors == 3)
    #expect(server.statistics.errorEpisodes == 1)
    expectBalanced(server)
  }

  @Test(
    "A client that gave up in the queue does not stop the server",
    arguments: [ECONNABORTED, EPROTO, ETIMEDOUT, EHOSTUNREACH, ENETDOWN]
  )
  func oneClientGone(_ errnum: CInt) throws {
    let loop = try Loop()
    let server = try makeServer(loop)
    var told = 0
    server.acceptError.connect { _ in told += 1 }
    fault_fail(FAULT_ACCEPT4, 1, 1, errnum)
    defer { fault_clear() }
    let client = PlainClient(to: server)
    #expect(loop.run { server.hasPendingConnections })
    #expect(told == 0)
    #expect(server.serverError == .unknown)
    client?.end()
    expectBalanced(server)
  }

  @Test("A peer that has already reset is delivered with its address and what it sent")
  func alreadyReset() throws {
    let loop = try Loop()
    let server = try makeServer(loop)
    let client = try #require(PlainClient(to: server))
    let port = client.port
    client.send("last words")
    client.reset()
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == .localHost)
    #expect(socket.peerPort == port)
    #expect(socket.readAll() == Array("last words".utf8))
    expectBalanced(server)
  }

  @Test(
    "An IPv4 client of a dual-stack server is reported by its IPv4 address",
    .enabled(if: Machine.hasIPv6, "no IPv6 here")
  )
  func dualStackPeer() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen())
    let client = try #require(PlainClient(port: server.serverPort))
    #expect(server.waitForNewConnection(msec: 60_000))
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == .localHost)
    #expect(socket.peerAddress.description == "127.0.0.1")
    #expect(socket.localAddress.description == "127.0.0.1")
    client.end()
  }

  @Test("A wait on a server that does not listen returns at once and leaves timedOut alone")
  func waitingWithoutListening() {
    let server = TCPServer(eventBase: nil)
    for before in [true, false] {
      var timedOut = before
      #expect(!server.waitForNewConnection(msec: 60_000, timedOut: &timedOut))
      #expect(timedOut == before)
    }
    #expect(server.serverError == .unknown)
  }
}
