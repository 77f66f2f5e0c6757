// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import TCPServerKit
import Testing

@Suite("Overriding incomingConnection(_:) and adding connections", .blocking)
struct OverridingTests {
  @Test("For each connection incomingConnection comes first, then newConnection")
  func order() throws {
    let fixture = try OverridingFixture()
    var events: [String] = []
    fixture.server.onIncoming = { server, descriptor in
      events.append("incoming")
      server.takeDefault(descriptor)
      events.append("taken")
    }
    fixture.server.newConnection.connect { events.append("new") }
    let clients = try [fixture.connect(), fixture.connect()]
    #expect(fixture.loop.run { events.count == 6 })
    #expect(events == ["incoming", "taken", "new", "incoming", "taken", "new"])
    withExtendedLifetime(clients) {}
    expectBalanced(fixture.server)
  }

  @Test("The descriptor is open, non-blocking, close-on-exec and connected to the client")
  func descriptor() throws {
    let fixture = try OverridingFixture()
    var flags: DescriptorFlags?
    var port: UInt16 = 0
    fixture.server.onIncoming = { server, descriptor in
      flags = DescriptorFlags(descriptor)
      port = Endpoint(localOf: descriptor)?.port ?? 0
      server.takeDefault(descriptor)
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { flags != nil })
    #expect(flags?.isNonBlocking == true)
    #expect(flags?.isCloseOnExec == true)
    #expect(port == fixture.server.serverPort)
    #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test("close() in incomingConnection still emits newConnection, once")
  func closing() throws {
    let fixture = try OverridingFixture()
    var announced = 0
    fixture.server.onIncoming = { server, descriptor in
      server.close()
      server.takeDefault(descriptor)
    }
    fixture.server.newConnection.connect { announced += 1 }
    let clients = try [fixture.connect(), fixture.connect()]
    #expect(fixture.loop.run { announced > 0 })
    fixture.loop.settle()
    #expect(announced == 1)
    #expect(!fixture.server.isListening)
    #expect(fixture.server.nextPendingConnection()?.peerPort == clients[0].port)
    #expect(clients[1].nextInput() == .failed(ECONNRESET))
    expectBalanced(fixture.server)
  }

  @Test("An override that closes the descriptor is announced with nothing pending, without any limit")
  func dropping() throws {
    let fixture = try OverridingFixture()
    fixture.server.maxPendingConnections = 1
    var announced = 0
    fixture.server.onIncoming = { _, descriptor in close(descriptor) }
    fixture.server.newConnection.connect {
      announced += 1
      #expect(fixture.server.nextPendingConnection() == nil)
    }
    let clients = try (0..<3).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { announced == 3 })
    for client in clients {
      #expect(client.nextInput() == .end)
    }
    #expect(fixture.server.statistics.delivered == 3)
    expectBalanced(fixture.server)
  }

  @Test("An override may take the descriptor into a socket of its own")
  func taking() throws {
    let fixture = try OverridingFixture()
    var own: [TCPSocket] = []
    fixture.server.onIncoming = { server, descriptor in
      let socket = TCPSocket(eventBase: server.eventBase)
      #expect(socket.setSocketDescriptor(descriptor))
      own.append(socket)
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { own.count == 1 })
    #expect(!fixture.server.hasPendingConnections)
    #expect(own[0].peerPort == client.port)
    own[0].write("hello")
    #expect(client.nextInput() == .bytes(Array("hello".utf8)))
    expectBalanced(fixture.server)
  }

  @Test("The peer is known while incomingConnection(_:) runs, whatever it does, and no longer")
  func incomingPeer() throws {
    let fixture = try OverridingFixture()
    let server = fixture.server
    var seen: [UInt16?] = []
    func look() {
      seen.append(server.incomingPeer?.port)
      #expect(server.incomingPeer?.address ?? .localHost == .localHost)
    }
    let first = try fixture.connect()
    var second: PlainClient?
    server.onIncoming = { server, descriptor in
      look()
      if second == nil {
        second = PlainClient(to: server)
        #expect(
          server.waitForNewConnection(msec: 60_000),
          "within it the next one's is told, then this one's again"
        )
      }
      server.takeDefault(descriptor)
      look()
    }
    server.newConnection.connect { if server.statistics.accepted == 2 { look() } }
    look()
    #expect(fixture.loop.run { server.statistics.pending == 2 })
    let other = try #require(second).port
    // The inner one is announced while the outer one is still at work.
    #expect(seen == [nil, first.port, other, other, first.port, first.port, nil])
    server.onIncoming = { server, _ in look() }
    server.incomingConnection(-1)
    #expect(seen.last == .some(nil), "called by the program")
    expectBalanced(server)
  }

  @Test("super with -1 takes nothing, also after it has taken the connection")
  func superWithNone() throws {
    let fixture = try OverridingFixture()
    fixture.server.onIncoming = { server, descriptor in
      server.takeDefault(-1)
      server.takeDefault(descriptor)
      server.takeDefault(-1)
      server.addPendingConnection(TCPSocket(eventBase: server.eventBase))
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.statistics.pending == 2 })
    #expect(fixture.server.statistics.live == 1, "a socket without a connection does not count")
    #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test("The peer of a connection that was reset is known all the same, to a socket that takes it as well")
  func incomingPeerThatHasGone() throws {
    let fixture = try OverridingFixture()
    var told: UInt16?
    var own: TCPSocket?
    fixture.server.onIncoming = { server, descriptor in
      #expect(Descriptors.waitReset(descriptor))
      #expect(Endpoint(peerOf: descriptor) == nil)
      told = server.incomingPeer?.port
      let socket = TCPSocket(eventBase: server.eventBase)
      #expect(socket.setSocketDescriptor(descriptor))
      own = socket
    }
    let client = try fixture.connect()
    let port = client.port
    client.reset()
    #expect(fixture.loop.run { own != nil })
    #expect(told == port)
    #expect(own?.peerAddress == .localHost)
    #expect(own?.peerPort == port)
    #expect(own?.readAll() == [])
    expectBalanced(fixture.server)
  }

  @Test("super takes another descriptor than the one that was accepted")
  func superWithAnother() throws {
    let fixture = try OverridingFixture()
    fixture.server.onIncoming = { server, descriptor in
      let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
      close(descriptor)
      server.takeDefault(copy)
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    let socket = try #require(fixture.server.nextPendingConnection())
    #expect(socket.peerPort == client.port)
    socket.write("hello")
    #expect(client.nextInput() == .bytes(Array("hello".utf8)))
    expectBalanced(fixture.server)
  }

  @Test("super refuses a descriptor that is no connection: nothing is pending, and it stays the caller's")
  func superWithNonsense() throws {
    let server = OverridingServer(eventBase: try Loop().base)
    let descriptor = Descriptors.listening()
    defer { close(descriptor) }
    let flags = DescriptorFlags(descriptor)
    server.takeDefault(descriptor)
    #expect(!server.hasPendingConnections)
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(DescriptorFlags(descriptor) == flags)
    expectBalanced(server)
  }

  @Test("Added and accepted connections come out in the order they went in")
  func fifo() throws {
    let fixture = try OverridingFixture()
    var incoming = 0
    fixture.server.onIncoming = { server, descriptor in
      incoming += 1
      guard incoming.isMultiple(of: 2) else { return server.takeDefault(descriptor) }
      let socket = TCPSocket(eventBase: server.eventBase)
      socket.setSocketDescriptor(descriptor)
      server.addPendingConnection(socket)
    }
    let clients = try (0..<5).map { _ in try fixture.connect() }
    #expect(fixture.loop.run { incoming == 5 })
    for client in clients {
      #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    }
    #expect(fixture.server.nextPendingConnection() == nil)
    expectBalanced(fixture.server)
  }

  @Test("Adding goes over the limit, and accepting waits until there is room again")
  func addingOverTheLimit() throws {
    let fixture = try OverridingFixture()
    fixture.server.maxPendingConnections = 1
    let sockets = (0..<3).map { _ in TCPSocket(eventBase: fixture.loop.base) }
    sockets.forEach(fixture.server.addPendingConnection)
    let client = try fixture.connect()
    fixture.loop.settle()
    #expect(fixture.server.statistics.pending == 3)
    #expect(fixture.server.statistics.accepted == 0)
    for socket in sockets {
      #expect(fixture.server.nextPendingConnection() === socket)
    }
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test("close() ends added connections as it does accepted ones", arguments: [true, false])
  func closingAdded(watched: Bool) throws {
    let fixture = try OverridingFixture()
    var disconnected = 0
    fixture.server.onIncoming = { server, descriptor in
      let socket = TCPSocket(eventBase: server.eventBase)
      socket.setSocketDescriptor(descriptor)
      if watched {
        // The loop keeps such a socket alive.
        socket.disconnected.connect { disconnected += 1 }
      }
      server.addPendingConnection(socket)
    }
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    fixture.server.close()
    #expect(!fixture.server.hasPendingConnections)
    #expect(client.nextInput() == .end)
    #expect(disconnected == (watched ? 1 : 0))
    #expect(fixture.server.statistics.discardedOnClose == 1)
    expectBalanced(fixture.server)
  }

  @Test("Releasing the server ends added connections that were not taken")
  func releasingWithAdded() throws {
    let loop = try Loop()
    var server: OverridingServer? = OverridingServer(eventBase: loop.base)
    server?.onIncoming = { server, descriptor in
      let socket = TCPSocket(eventBase: server.eventBase)
      socket.setSocketDescriptor(descriptor)
      socket.readyRead.connect {}
      server.addPendingConnection(socket)
    }
    try #require(server?.listen(address: .localHost) == true)
    let client = try #require(server.flatMap { PlainClient(to: $0) })
    #expect(loop.run { server?.hasPendingConnections == true })
    server = nil
    #expect(client.nextInput() == .end)
  }

  @Test("A descriptor handed to another thread is served by a loop of that thread")
  func anotherThread() throws {
    let fixture = try OverridingFixture()
    let handedOver = Locked<CInt>(-1)
    fixture.server.onIncoming = { _, descriptor in handedOver.withLock { $0 = descriptor } }
    let client = try fixture.connect()
    #expect(fixture.loop.run { handedOver.withLock { $0 } >= 0 })
    let descriptor = handedOver.withLock { $0 }
    let served = Atomic(false)
    let clientPort = client.port
    let thread = OtherThread {
      guard let base = try? EventBase() else { return }
      let socket = TCPSocket(eventBase: base)
      guard socket.setSocketDescriptor(descriptor), socket.peerPort == clientPort else { return }
      socket.readyRead.connect { [weak socket] in
        guard let socket else { return }
        socket.write(socket.readAll())
        socket.disconnectFromHost()
      }
      socket.disconnected.connect {
        served.store(true, ordering: .releasing)
        base.stop()
      }
      base.run()
    }
    client.send("across")
    #expect(client.nextInput() == .bytes(Array("across".utf8)))
    #expect(client.nextInput() == .end)
    client.end()
    thread.join()
    let wasServed = served.load(ordering: .acquiring)
    #expect(wasServed)
    expectBalanced(fixture.server)
  }
}
