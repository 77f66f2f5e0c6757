// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import TCPServerKit
import Testing

/// Pending connections, newConnection() and incomingConnection().
@Suite("Documentation: connections", .blocking)
struct DocumentationConnectionTests {
  @Test("newConnection: emitted for every connection")
  func newConnection() throws {
    let fixture = try OverridingFixture()
    var pending: [UInt64] = []
    fixture.server.newConnection.connect { pending.append(fixture.server.statistics.pending) }
    let clients = try (0..<3).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { pending.count == 3 })
    #expect(pending == [1, 2, 3])
    fixture.server.newConnection.disconnectAll()
    withExtendedLifetime(clients) {}
    expectBalanced(fixture.server)
  }

  @Test("hasPendingConnections: whether one is pending")
  func hasPendingConnections() throws {
    let fixture = try OverridingFixture()
    #expect(!fixture.server.hasPendingConnections)
    let client = try fixture.connect()
    #expect(!fixture.server.hasPendingConnections, "the kernel's queue does not count")
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    _ = fixture.server.nextPendingConnection()
    #expect(!fixture.server.hasPendingConnections)
    client.end()
    expectBalanced(fixture.server)
  }

  @Test("nextPendingConnection(): the oldest comes first")
  func nextPendingConnection() throws {
    let fixture = try OverridingFixture()
    let clients = try (0..<5).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { fixture.server.statistics.pending == 5 })
    for client in clients {
      let socket = try #require(fixture.server.nextPendingConnection())
      #expect(socket.state == .connected)
      #expect(socket.error == .unknown)
      #expect(socket.peerAddress == .localHost)
      #expect(socket.peerPort == client.port)
      #expect(socket.localPort == fixture.server.serverPort)
    }
    expectBalanced(fixture.server)
  }

  @Test("nextPendingConnection(): nil when none is pending")
  func nothingPending() throws {
    let fixture = try OverridingFixture()
    #expect(fixture.server.nextPendingConnection() == nil)
    #expect(fixture.server.serverError == .unknown)
    #expect(TCPServer(eventBase: nil).nextPendingConnection() == nil)
  }

  @Test(
    "nextPendingConnection(): the socket belongs to the program, and its release ends the connection, unlike in Qt"
  )
  func ownership() throws {
    let fixture = try OverridingFixture()
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    var socket = fixture.server.nextPendingConnection()
    weak let watched = socket
    #expect(watched != nil)
    socket = nil
    #expect(watched == nil)
    #expect(client.nextInput() == .end)
    expectBalanced(fixture.server)
  }

  @Test(
    "nextPendingConnection(): the socket's state on another thread stops the program"
  )
  func wrongThread() async {
    #if DEBUG
      await #expect(processExitsWith: .failure) {
        guard let base = try? EventBase() else { exit(0) }
        let server = TCPServer(eventBase: base)
        guard server.listen(address: .localHost), let client = PlainClient(to: server),
          server.waitForNewConnectionBlocking(msec: 60_000), let socket = server.nextPendingConnection()
        else { exit(0) }
        let smuggled = socket
        base.execute {
          OtherThread { smuggled.readyRead.connect {} }.join()
          exit(0)
        }
        base.runBlocking()
        client.end()
      }
    #endif
  }

  @Test("maxPendingConnections: 30 at first")
  func maxPendingConnections() {
    let server = TCPServer(eventBase: nil)
    #expect(server.maxPendingConnections == 30)
    server.maxPendingConnections = 3
    #expect(server.maxPendingConnections == 3)
  }

  @Test(
    "maxPendingConnections: no more are accepted until nextPendingConnection() is called",
    arguments: [1, 2, 7]
  )
  func limit(_ limit: Int) throws {
    let fixture = try OverridingFixture()
    fixture.server.maxPendingConnections = limit
    let clients = try (0..<limit + 2).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { fixture.server.statistics.pending == limit })
    fixture.loop.settle()
    #expect(fixture.server.statistics.accepted == limit)
    #expect(fixture.server.nextPendingConnection()?.peerPort == clients[0].port)
    #expect(fixture.loop.run { fixture.server.statistics.accepted == limit + 1 })
    fixture.loop.settle()
    #expect(fixture.server.statistics.accepted == limit + 1)
    #expect(fixture.server.statistics.pending == limit)
    expectBalanced(fixture.server)
  }

  @Test("maxPendingConnections: the default limit is kept")
  func defaultLimit() throws {
    let fixture = try OverridingFixture()
    let clients = try (0..<32).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { fixture.server.statistics.pending == 30 })
    fixture.loop.settle()
    #expect(fixture.server.statistics.pending == 30)
    #expect(fixture.server.statistics.acceptQueue == 2)
    withExtendedLifetime(clients) {}
    expectBalanced(fixture.server)
  }

  @Test(
    "maxPendingConnections: beyond it clients still connect"
  )
  func clientsStillConnect() throws {
    let fixture = try OverridingFixture()
    fixture.server.maxPendingConnections = 1
    let first = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    let second = TCPSocket(eventBase: fixture.loop.base)
    var connected = false
    second.connected.connect { connected = true }
    second.connectToHost(.localHost, port: fixture.server.serverPort)
    #expect(fixture.loop.run { connected })
    #expect(fixture.server.statistics.accepted == 1)
    second.abort()
    first.end()
    expectBalanced(fixture.server)
  }

  @Test(
    "maxPendingConnections: the kernel queues the clients beyond it, and what they send"
  )
  func kernelKeepsThem() throws {
    let fixture = try OverridingFixture()
    fixture.server.maxPendingConnections = 1
    let clients = try (0..<2).map { _ in try fixture.connect() }
    clients[1].send("early")
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    #expect(fixture.server.statistics.acceptQueue == 1)
    _ = fixture.server.nextPendingConnection()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    let socket = try #require(fixture.server.nextPendingConnection())
    #expect(socket.readAll() == Array("early".utf8))
    expectBalanced(fixture.server)
  }

  @Test(
    "incomingConnection(): called with the descriptor of each accepted connection"
  )
  func incomingConnection() throws {
    let fixture = try OverridingFixture()
    var given: CInt = -1
    fixture.server.onIncoming = { _, descriptor in given = descriptor }
    let client = try fixture.connect()
    #expect(fixture.loop.run { given >= 0 })
    #expect(unsafe send(given, "raw", 3, 0) == 3)
    #expect(client.nextInput() == .bytes(Array("raw".utf8)))
    close(given)
    expectBalanced(fixture.server)
  }

  @Test(
    "incomingConnection(): as it is, it makes a pending connection, and newConnection follows"
  )
  func baseImplementation() throws {
    let fixture = try OverridingFixture()
    var given: CInt = -1
    var events: [String] = []
    fixture.server.onIncoming = { server, descriptor in
      given = descriptor
      events.append("pending \(server.statistics.pending)")
      server.takeDefault(descriptor)
      events.append("pending \(server.statistics.pending)")
    }
    fixture.server.newConnection.connect { events.append("newConnection") }
    let client = try fixture.connect()
    #expect(fixture.loop.run { events.count == 3 })
    #expect(events == ["pending 0", "pending 1", "newConnection"])
    let socket = try #require(fixture.server.nextPendingConnection())
    #expect(socket.socketDescriptor == given)
    #expect(socket.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test("incomingConnection(): an override decides what becomes of a connection")
  func reimplementing() throws {
    let fixture = try OverridingFixture()
    fixture.server.onIncoming = { _, descriptor in
      unsafe _ = send(descriptor, "busy\n", 5, CInt(MSG_NOSIGNAL))
      close(descriptor)
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.statistics.delivered == 1 })
    #expect(client.nextInput() == .bytes(Array("busy\n".utf8)))
    #expect(client.nextInput() == .end)
    expectBalanced(fixture.server)
  }

  @Test(
    "addPendingConnection(): the socket is pending"
  )
  func addPendingConnection() throws {
    let fixture = try OverridingFixture()
    var made: TCPSocket?
    fixture.server.onIncoming = { server, descriptor in
      let socket = TCPSocket(eventBase: server.eventBase)
      #expect(socket.setSocketDescriptor(descriptor))
      server.addPendingConnection(socket)
      made = socket
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    let socket = try #require(fixture.server.nextPendingConnection())
    #expect(socket === made)
    #expect(socket.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test(
    "addPendingConnection(): an override that does without it has nothing pending"
  )
  func forgetting() throws {
    let fixture = try OverridingFixture()
    var kept: [CInt] = []
    var announced = 0
    fixture.server.maxPendingConnections = 1
    fixture.server.onIncoming = { _, descriptor in kept.append(descriptor) }
    fixture.server.newConnection.connect { announced += 1 }
    let clients = try (0..<2).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { announced == 2 })
    #expect(!fixture.server.hasPendingConnections)
    #expect(fixture.server.nextPendingConnection() == nil)
    for descriptor in kept {
      close(descriptor)
    }
    withExtendedLifetime(clients) {}
    expectBalanced(fixture.server)
  }

  @Test(
    "setSocketDescriptor(): a socket on another thread takes the descriptor of an override"
  )
  func anotherThread() throws {
    let fixture = try OverridingFixture()
    var threads: [OtherThread] = []
    fixture.server.onIncoming = { _, descriptor in
      threads.append(
        OtherThread {
          let socket = TCPSocket(eventBase: nil)
          guard socket.setSocketDescriptor(descriptor) else { return }
          socket.write("from \(socket.peerPort)")
          socket.disconnectFromHost()
          socket.waitForDisconnected()
        }
      )
    }
    let clients = try (0..<3).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { threads.count == 3 })
    for client in clients {
      #expect(client.nextInput() == .bytes(Array("from \(client.port)".utf8)))
      #expect(client.nextInput() == .end)
      client.end()
    }
    threads.forEach { $0.join() }
    expectBalanced(fixture.server)
  }
}
