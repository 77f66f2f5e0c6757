// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// The cases of Qt's own test of QTcpServer that need one server and plain clients.
@Suite("Qt's cases: listening and serving", .blocking)
struct QtServerCases {
  @Test("S01: maxPendingConnections gives back what was set, however odd", arguments: [0, .min, .max, -1, 1])
  func limitReadsBack(_ limit: Int32) {
    let server = TCPServer(eventBase: nil)
    server.maxPendingConnections = Int(limit)
    #expect(server.maxPendingConnections == Int(limit))
  }

  @Test("S02: a new server does not listen, has nothing pending and no error")
  func newServer() throws {
    let server = TCPServer(eventBase: try Loop().base)
    #expect(!server.isListening)
    #expect(server.serverPort == 0)
    #expect(server.serverAddress == .null)
    #expect(server.maxPendingConnections == 30)
    #expect(!server.hasPendingConnections)
    #expect(server.socketDescriptor == -1)
    #expect(server.serverError == .unknown)
    #expect(server.errorString == "")
    expectBalanced(server)
  }

  @Test(
    "S03: a client and a server exchange greetings, blocking",
    arguments: [.any, .anyIPv4, .anyIPv6, .localHost, .localHostIPv6] as [HostAddress]
  )
  func greetings(on address: HostAddress) throws {
    try #require(Machine.hasIPv6 || address.ipv4 != nil || address == .any, "this machine has no IPv6")
    let server = TCPServer(eventBase: nil)
    var announced = 0
    server.newConnection.connect { announced += 1 }
    #expect(!server.isListening)
    #expect(!server.hasPendingConnections)
    try #require(server.listen(address: address))
    #expect(server.isListening)

    let client = TCPSocket(eventBase: nil)
    client.connectToHost(address.isIPv6 ? .localHostIPv6 : .localHost, port: server.serverPort)
    try #require(client.waitForConnected(msec: 60_000))
    try #require(server.waitForNewConnection(msec: 60_000))
    #expect(server.hasPendingConnections)
    #expect(announced == 1)

    let socket = try #require(server.nextPendingConnection())
    let (greeting, answer) = ("Greetings, client!\n", "Well, hello to you!\n")
    #expect(socket.write(greeting) == 19)
    #expect(client.waitForReadyRead(msec: 60_000))
    #expect(client.readAll() == Array(greeting.utf8))
    #expect(client.write(answer) == 20)
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(socket.readAll() == Array(answer.utf8))
    expectBalanced(server)
  }

  @Test(
    "S04: a server on ::1 sees its client in a wait of 0 ms",
    .enabled(if: Machine.hasIPv6, "no IPv6 here")
  )
  func ipv6() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHostIPv6))
    #expect(server.serverPort != 0)
    #expect(server.serverAddress == .localHostIPv6)
    let client = try #require(PlainClient("::1", port: server.serverPort))
    #expect(server.waitForNewConnection())
    #expect(server.hasPendingConnections)
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == .localHostIPv6)
    socket.close()
    #expect(client.nextInput() == .end)
    expectBalanced(server)
  }

  @Test(
    "S05: each wildcard address takes the clients of its families and no other",
    .enabled(if: Machine.hasIPv6, "no IPv6 here"),
    arguments: [
      (HostAddress.any, true, true), (.anyIPv4, true, false), (.anyIPv6, false, true),
    ]
  )
  func families(_ address: HostAddress, takesIPv4: Bool, takesIPv6: Bool) throws {
    let (server, reserved) = try listening(on: address)
    defer { withExtendedLifetime(reserved) {} }
    let client4 = PlainClient("127.0.0.1", port: server.serverPort)
    let client6 = PlainClient("::1", port: server.serverPort)
    #expect((client4 != nil) == takesIPv4)
    #expect((client6 != nil) == takesIPv6)
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.statistics.accepted == (takesIPv4 ? 1 : 0) + (takesIPv6 ? 1 : 0))
    expectBalanced(server)
  }

  /// A server, and what keeps its port from other tests' servers in the family that it does not take.
  private func listening(on address: HostAddress) throws -> (TCPServer, ReservedPort?) {
    let other = address == .any ? nil : address.isIPv6 ? "0.0.0.0" : "::"
    for _ in 0..<100 {
      let server = TCPServer(eventBase: nil)
      try #require(server.listen(address: address))
      guard let other else { return (server, nil) }
      if let reserved = try? ReservedPort(server.serverPort, of: other) { return (server, reserved) }
    }
    throw ReservedPort.None()
  }

  @Test(
    "S06: a server on 127.0.0.1 takes clients by its mapped address, in any spelling",
    .enabled(if: Machine.hasIPv6, "no IPv6 here"),
    arguments: ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7F00:0001"]
  )
  func mappedClients(_ spelling: String) throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let plain = try #require(PlainClient(spelling, port: server.serverPort))
    let client = TCPSocket(eventBase: nil)
    client.connectToHost(spelling, port: server.serverPort)
    #expect(client.waitForConnected(msec: 60_000))
    #expect(server.waitForNewConnection(msec: 60_000))
    for port in [plain.port, client.localPort] {
      let socket = try #require(server.nextPendingConnection())
      #expect(socket.peerAddress == .localHost)
      #expect(socket.peerPort == port)
    }
    expectBalanced(server)
  }

  @Test("S06: a server on 127.0.0.1 takes no client of ::1", .enabled(if: Machine.hasIPv6, "no IPv6 here"))
  func unmappedClient() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    #expect(PlainClient("::1", port: server.serverPort) == nil)
    #expect(!server.waitForNewConnection(msec: 1))
    expectBalanced(server)
  }

  @Test("S07: close() on a fresh server is harmless, and it can listen then")
  func closeFirst() throws {
    let server = TCPServer(eventBase: try Loop().base)
    server.close()
    #expect(server.listen())
    #expect(server.serverError == .unknown)
    server.close()
    server.close()
    expectBalanced(server)
  }

  @Test("S08: at most maxPendingConnections are announced; taking one lets the next in")
  func limit() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.maxPendingConnections = 2
    var announced = 0
    server.newConnection.connect { announced += 1 }
    try #require(server.listen(address: .localHost))
    let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
    try #require(clients.count == 3)
    #expect(loop.run { announced == 2 })
    loop.settle()
    #expect(announced == 2)
    #expect(server.statistics.acceptQueue == 1)

    for _ in 0..<2 {
      #expect(server.hasPendingConnections)
      #expect(server.nextPendingConnection() != nil)
    }
    #expect(!server.hasPendingConnections)
    #expect(server.nextPendingConnection() == nil)
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.hasPendingConnections)
    let third = try #require(server.nextPendingConnection())
    #expect(third.peerPort == clients[2].port)
    #expect(announced == 3)
    expectBalanced(server)
  }

  @Test("S08: the same without a loop: one wait accepts up to the limit")
  func limitWithoutLoop() throws {
    let server = TCPServer(eventBase: nil)
    server.maxPendingConnections = 2
    try #require(server.listen(address: .localHost))
    let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
    #expect(server.waitForNewConnection(msec: 60_000))
    for client in clients[..<2] {
      #expect(server.nextPendingConnection()?.peerPort == client.port)
    }
    #expect(server.nextPendingConnection() == nil)
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == clients[2].port)
    expectBalanced(server)
  }

  @Test("S09: listening on an address of another machine fails with its error and text")
  func foreignAddress() throws {
    let server = TCPServer(eventBase: try Loop().base)
    let foreign = try #require(HostAddress("1.2.3.4"))
    #expect(!server.listen(address: foreign))
    #expect(server.serverError == .socketAddressNotAvailable)
    #expect(server.errorString == "The address is not available")
    expectBalanced(server)
  }

  @Test("S10: a wait that times out says so, and one that a client ends clears timedOut")
  func waiting() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: Machine.outwardAddress ?? .localHost))
    var timedOut = false
    #expect(!server.waitForNewConnection(msec: 50, timedOut: &timedOut))
    #expect(server.serverError == .socketTimeout)
    #expect(timedOut)

    let waiting = OtherThread.currentID
    let (address, port) = (server.serverAddress.description, server.serverPort)
    let other = OtherThread {
      // Connects only once the wait is blocked.
      _ = OtherThread.waitUntilAsleep(waiting)
      _ = PlainClient(address, port: port)
    }
    #expect(server.waitForNewConnection(msec: 60_000, timedOut: &timedOut))
    #expect(!timedOut)
    other.join()
    expectBalanced(server)
  }
}
