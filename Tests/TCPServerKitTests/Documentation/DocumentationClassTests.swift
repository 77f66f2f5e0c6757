// SPDX-License-Identifier: Apache-2.0

import Synchronization
import TCPServerKit
import Testing

/// What Qt's documentation says of the class. A test's name is the member and the fact.
@Suite("Documentation: the class", .blocking)
struct DocumentationClassTests {
  @Test("TCPServer: its connections are TCP's")
  func tcpBased() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    // An option that only a TCP socket has.
    #expect(socket.socketOption(.lowDelay) == 1)
    #expect(socket.peerPort == client.port)
    expectBalanced(server)
  }

  @Test(
    "TCPServer: servers on several threads are independent of each other"
  )
  func reentrant() {
    let served = Atomic(0)
    let threads = (0..<4).map { _ in
      OtherThread {
        guard let loop = try? Loop() else { return }
        let server = TCPServer(eventBase: loop.base)
        for _ in 0..<25 {
          guard server.listen(address: .localHost), let client = PlainClient(to: server),
            loop.run(until: { server.hasPendingConnections }),
            server.nextPendingConnection()?.peerPort == client.port
          else { return }
          server.close()
          served.add(1, ordering: .relaxed)
        }
        expectBalanced(server)
      }
    }
    threads.forEach { $0.join() }
    let total = served.load(ordering: .relaxed)
    #expect(total == 100)
  }

  @Test("TCPServer: it accepts incoming connections")
  func accepting() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection(msec: 60_000))
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.state == .connected)
    #expect(socket.peerPort == client.port)
    expectBalanced(server)
  }

  @Test("listen(): the port may be given, or chosen by the kernel")
  func ports() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    #expect(server.serverPort != 0)
    server.close()
    let reserved = try ReservedPort()
    try #require(server.listen(address: .localHost, port: reserved.number))
    #expect(server.serverPort == reserved.number)
    #expect(PlainClient(port: reserved.number) != nil)
  }

  @Test("listen(): one address, or all of the machine's")
  func addresses() throws {
    let specific = TCPServer(eventBase: nil)
    try #require(specific.listen(address: .localHost))
    #expect(PlainClient("127.0.0.1", port: specific.serverPort) != nil)
    #expect(PlainClient("127.0.0.2", port: specific.serverPort) == nil)

    let everywhere = TCPServer(eventBase: nil)
    try #require(everywhere.listen())
    for address in Machine.addresses {
      #expect(PlainClient(address.description, port: everywhere.serverPort) != nil, "\(address)")
    }
  }

  @Test(
    "newConnection: emitted once for each client of a listening server"
  )
  func signalForEach() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var emitted = 0
    server.newConnection.connect { emitted += 1 }
    loop.settle(turns: 2)
    #expect(emitted == 0)
    try #require(server.listen(address: .localHost))
    var clients: [PlainClient?] = []
    for count in 1...3 {
      clients.append(PlainClient(to: server))
      #expect(loop.run { emitted == count })
    }
    loop.settle(turns: 2)
    #expect(emitted == 3)
    expectBalanced(server)
  }

  @Test(
    "nextPendingConnection(): a connected socket, for both directions"
  )
  func communicating() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.state == .connected)
    socket.write("to the client")
    #expect(client.nextInput() == .bytes(Array("to the client".utf8)))
    client.send("to the server")
    var received: [UInt8] = []
    socket.readyRead.connect { received += socket.readAll() }
    #expect(loop.run { received == Array("to the server".utf8) })
    socket.abort()
    expectBalanced(server)
  }

  @Test(
    "serverError, errorString: what the last error was, as a number and as a text"
  )
  func errors() throws {
    let other = TCPServer(eventBase: nil)
    try #require(other.listen(address: .localHost))
    let server = TCPServer(eventBase: nil)
    #expect(!server.listen(address: .localHost, port: other.serverPort))
    #expect(server.serverError == .addressInUse)
    #expect(server.errorString == "The bound address is already in use")
  }

  @Test(
    "serverAddress, serverPort: where the server listens"
  )
  func whereItListens() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let bound = try #require(Endpoint(localOf: server.socketDescriptor))
    #expect(server.serverAddress == .localHost)
    #expect(server.serverPort == bound.port)
  }

  @Test("close(): the server no longer listens")
  func closing() throws {
    let server = TCPServer(eventBase: nil)
    let reserved = try ReservedPort()
    try #require(server.listen(address: .localHost, port: reserved.number))
    server.close()
    #expect(!server.isListening)
    #expect(PlainClient(port: reserved.number) == nil)
    #expect(!server.waitForNewConnection(msec: 60_000))
  }

  @Test(
    "waitForNewConnection(): a server without an event loop blocks until a client comes or the time is over"
  )
  func withoutLoop() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.eventBase == nil)
    try #require(server.listen(address: .localHost))
    #expect(!server.waitForNewConnection(msec: 5))
    let client = try #require(PlainClient(to: server))
    #expect(!server.hasPendingConnections, "nobody else accepts")
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(server)
  }

  @Test(
    "init: on the thread's event base, unless another or none is given"
  )
  func constructing() throws {
    let base = try EventBase()
    #expect(TCPServer(eventBase: base).eventBase === base)
    #expect(TCPServer().eventBase === EventBase.current)
    #expect(TCPServer(eventBase: nil).eventBase == nil)
    #expect(!TCPServer(eventBase: base).isListening)
  }

  @Test(
    "deinit: a listening server closes its socket"
  )
  func destroying() throws {
    var server: TCPServer? = TCPServer(eventBase: try Loop().base)
    let reserved = try ReservedPort()
    try #require(server?.listen(address: .localHost, port: reserved.number) == true)
    let file = try #require(OpenFile(server?.socketDescriptor ?? -1))
    #expect(file.isOpen)
    server = nil
    #expect(!file.isOpen)
    #expect(PlainClient(port: reserved.number) == nil)
  }

  @Test(
    "deinit: sockets that were taken stay connected, unlike in Qt"
  )
  func socketsLiveOn() throws {
    var server: TCPServer? = TCPServer(eventBase: nil)
    try #require(server?.listen(address: .localHost) == true)
    let client = try #require(server.flatMap { PlainClient(to: $0) })
    #expect(server?.waitForNewConnection(msec: 60_000) == true)
    let socket = try #require(server?.nextPendingConnection())
    server = nil
    #expect(socket.state == .connected)
    socket.write("alive")
    #expect(client.nextInput() == .bytes(Array("alive".utf8)))
  }
}
