import Glibc
import Synchronization
import TCPServerKit
import Testing

/// Pending connections, newConnection() and incomingConnection().
@Suite("Documentation: connections", .blocking)
struct DocumentationConnectionTests {
  @Test("\"This signal is emitted every time a new connection is available.\"")
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

  @Test("\"Returns true if the server has a pending connection; otherwise returns false.\"")
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

  @Test("\"Returns the next pending connection as a connected QTcpSocket object.\" The oldest comes first.")
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

  @Test("\"0 is returned if this function is called when there are no pending connections.\"")
  func nothingPending() throws {
    let fixture = try OverridingFixture()
    #expect(fixture.server.nextPendingConnection() == nil)
    #expect(fixture.server.serverError == .unknown)
    #expect(TCPServer(eventBase: nil).nextPendingConnection() == nil)
  }

  @Test(
    """
    "The socket is created as a child of the server, which means that it is automatically deleted when the \
    QTcpServer object is destroyed." Better: whoever took it owns it, and releasing it ends the connection.
    """
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
    "\"The returned QTcpSocket object cannot be used from another thread.\" Debug builds stop the program."
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

  @Test("\"Returns the maximum number of pending accepted connections. The default is 30.\"")
  func maxPendingConnections() {
    let server = TCPServer(eventBase: nil)
    #expect(server.maxPendingConnections == 30)
    server.maxPendingConnections = 3
    #expect(server.maxPendingConnections == 3)
  }

  @Test(
    """
    "Sets the maximum number of pending accepted connections to numConnections. QTcpServer will accept no more than \
    numConnections incoming connections before nextPendingConnection() is called."
    """,
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

  @Test("\"By default, the limit is 30 pending connections.\"")
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
    """
    "Clients may still able to connect after the server has reached its maximum number of pending connections (i.e., \
    QTcpSocket can still emit the connected() signal)."
    """
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
    """
    "QTcpServer will stop accepting the new connections, but the operating system may still keep them in queue." What \
    such a client sends is there when it is accepted.
    """
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
    """
    "This virtual function is called by QTcpServer when a new connection is available. The socketDescriptor argument \
    is the native socket descriptor for the accepted connection."
    """
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
    """
    "The base implementation creates a QTcpSocket, sets the socket descriptor and then stores the QTcpSocket in an \
    internal list of pending connections. Finally newConnection() is emitted."
    """
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

  @Test("\"Reimplement this function to alter the server's behavior when a connection is available.\"")
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
    """
    "This function is called by QTcpServer::incomingConnection() to add the socket to the list of pending incoming \
    connections."
    """
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
    """
    "Don't forget to call this member from reimplemented incomingConnection() if you do not want to break the Pending \
    Connections mechanism."
    """
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
    """
    "If you want to handle an incoming connection as a new QTcpSocket object in another thread you have to pass the \
    socketDescriptor to the other thread and create the QTcpSocket object there and use its setSocketDescriptor() \
    method."
    """
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
