import Glibc
import Synchronization
import TCPServerKit
import Testing

/// How many connections a server has at once, and what ends one.
@Suite("The limit of live connections")
struct ConnectionLimitTests {
  private let loop: Loop
  private let server: OverridingServer

  init() throws {
    let fixture = try OverridingFixture()
    (loop, server) = (fixture.loop, fixture.server)
  }

  private func connect(_ count: Int) throws -> [PlainClient] {
    try (0..<count).map { _ in try #require(PlainClient(to: server)) }
  }

  private func take() throws -> TCPSocket {
    #expect(loop.run { server.hasPendingConnections })
    return try #require(server.nextPendingConnection())
  }

  @Test("Clients beyond it wait until a connection ends, or the limit is raised or removed")
  func waits() throws {
    #expect(server.maxConnections == nil)
    #expect(server.excessConnections == .wait)
    server.maxConnections = 2
    #expect(server.maxConnections == 2)
    let clients = try connect(5)
    let first = try take()
    let second = try take()
    loop.settle()
    #expect(server.statistics.live == 2)
    #expect(server.statistics.kernelQueue == 3)
    #expect(server.statistics.pauses == 1)
    first.abort()
    #expect(try take().peerPort == clients[2].port)  // released at once, so the next follows
    #expect(try take().peerPort == clients[3].port)
    server.maxConnections = 3
    let kept = [try take(), second]
    server.maxConnections = nil
    #expect(server.statistics.live == UInt64(kept.count))
    expectBalanced(server)
  }

  @Test("Or they are turned away, and told", arguments: [ExcessConnections.close, .reset])
  func turnsAway(_ excess: ExcessConnections) throws {
    var rejected: [RejectedConnection] = []
    server.connectionRejected.connect { rejected.append($0) }
    server.maxConnections = 1
    server.excessConnections = excess
    #expect(server.maxConnections == 1 && server.excessConnections == excess)
    let clients = try connect(2)
    let socket = try take()
    #expect(loop.run { rejected.count == 1 })
    #expect(rejected.first?.reason == .limit)
    #expect(rejected.first?.peerPort == clients[1].port)
    #expect(rejected.first?.peerAddress == .localHost)
    #expect(rejected.first?.localAddress == .localHost)
    #expect(rejected.first?.localPort == server.serverPort)
    #expect(clients[1].nextInput() == (excess == .close ? .end : .failed(ECONNRESET)))
    #expect(server.statistics.rejectedByLimit == 1)
    socket.abort()
    let late = try connect(1)
    #expect(try take().peerPort == late[0].port)
    expectBalanced(server)
  }

  enum End: CaseIterable {
    case abort, disconnect, close, release, detach, peer, addedAndAborted
  }

  @Test("However a connection ends, its place is free", arguments: End.allCases)
  func ends(_ end: End) throws {
    let clients = try connect(1)
    var socket: TCPSocket? = try take()
    #expect(server.statistics.live == 1)
    switch end {
    case .abort: socket?.abort()
    case .disconnect, .close:
      end == .close ? socket?.close() : socket?.disconnectFromHost()
      #expect(server.statistics.live == 1, "until the peer has ended its side as well")
      clients[0].end()
      #expect(loop.run { socket?.state == .unconnected })
    case .release: socket = nil
    case .detach: close(socket?.detach() ?? -1)
    case .peer:
      socket?.readyRead.connect {}
      clients[0].end()
      #expect(loop.run { socket?.state == .unconnected })
    case .addedAndAborted:
      if let socket { server.addPendingConnection(socket) }
      #expect(server.statistics.live == 1)
      #expect(server.nextPendingConnection() === socket)
      socket?.abort()
    }
    #expect(server.statistics.live == 0)
    socket?.abort()
    #expect(server.statistics.live == 0)
    expectBalanced(server)
  }

  @Test("A socket made in incomingConnection(_:) counts, added or not; a bare descriptor until it is told")
  func overriding() throws {
    var sockets: [TCPSocket] = []
    var bare: CInt = -1
    var count = 0
    server.onIncoming = { server, descriptor in
      count += 1
      if count == 3 {
        bare = descriptor
        return
      }
      let socket = TCPSocket(eventBase: server.eventBase)
      #expect(socket.setSocketDescriptor(descriptor))
      sockets.append(socket)
      if count == 1 { server.addPendingConnection(socket) }
    }
    let clients = try connect(3)
    #expect(loop.run { count == 3 })
    #expect(server.statistics.live == 3)
    #expect(server.nextPendingConnection() === sockets[0])
    sockets.removeLast()
    #expect(server.statistics.live == 2)
    sockets.removeAll()
    #expect(server.statistics.live == 1)
    close(bare)
    server.connectionEnded()
    #expect(server.statistics.live == 0)
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  @Test("Another thread that closes bare descriptors tells of each; when the server has gone, nobody")
  func toldFromAnotherThread() throws {
    let tell = server.tellConnectionEnded
    let bare = Mutex<[CInt]>([])
    server.onIncoming = { _, descriptor in bare.withLock { $0.append(descriptor) } }
    let clients = try connect(3)
    #expect(loop.run { bare.withLock { $0.count } == 3 })
    OtherThread {
      for descriptor in bare.withLock({ $0.prefix(2) }) {
        close(descriptor)
        tell()
      }
    }.join()
    #expect(server.statistics.live == 3, "looked at on the loop alone")
    #expect(loop.run { server.statistics.live == 1 })
    close(bare.withLock { $0[2] })
    tell()
    #expect(loop.run { server.statistics.live == 0 })
    withExtendedLifetime(clients) {}
    expectBalanced(server)
    OverridingServer(eventBase: loop.base).tellConnectionEnded()
  }

  @Test("The same without a loop, where the socket is added")
  func overridingWithoutLoop() throws {
    let server = OverridingServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    server.onIncoming = { server, descriptor in
      let socket = TCPSocket(eventBase: nil)
      #expect(socket.setSocketDescriptor(descriptor))
      server.addPendingConnection(socket)
    }
    let client = try #require(PlainClient(to: server))
    let socket = try acceptedSocket(of: server)
    #expect(server.statistics.live == 1)
    socket.abort()
    #expect(server.statistics.live == 0)
    withExtendedLifetime(client) {}
    expectBalanced(server)
  }

  @Test("Sockets outlive their server, and end without it")
  func outlived() throws {
    weak var released: TCPServer?
    var sockets: [TCPSocket] = []
    do {
      let server = TCPServer(eventBase: loop.base)
      released = server
      try #require(server.listen(address: .localHost))
      let client = try #require(PlainClient(to: server))
      sockets.append(try acceptedSocket(of: server))
      client.end()
    }
    #expect(released == nil)
    #expect(sockets[0].state == .connected)
    sockets[0].abort()
    sockets.removeAll()
  }

  @Test("What close() discards counts no more, pending sockets included")
  func closing() throws {
    let clients = try connect(2)
    #expect(loop.run { server.statistics.pending == 2 })
    let (other, peer) = try connectedPair(loop.base)
    server.addPendingConnection(other)
    server.addPendingConnection(TCPSocket(eventBase: loop.base))
    #expect(server.statistics.live == 3, "one that is not connected does not count")
    server.close()
    #expect(server.statistics.live == 0)
    withExtendedLifetime((clients, peer)) {}
    expectBalanced(server)
  }

  @Test("serve() makes room for the next as each handler ends")
  func serving() async throws {
    try await onLoop { base in
      let server = try listening()
      server.maxConnections = 1
      let bound = LoopBound(server)
      let serving = start {
        try await bound.value.serve { socket in
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      }
      for _ in 0..<3 {
        let client = try #require(PlainClient(to: server))
        client.send("x\n")
        client.endWriting()
        try await until {
          _ = client.input()
          return client.hasEnded
        }
        #expect(server.statistics.live <= 1)
      }
      serving.cancel()
      #expect(try await serving.value.served == 3)
      #expect(server.statistics.live == 0)
      expectBalanced(server)
    }
  }

  @Test("A connection of the sequence counts on its way, as a socket of any loop, and until it is given away")
  func sequence() async throws {
    try await onLoop { base in
      let server = try listening()
      server.maxConnections = 4
      let clients = try (0..<4).map { _ in try #require(PlainClient(to: server)) }
      var taken: [IncomingConnection] = []
      for try await connection in server.connections {
        taken.append(connection)
        if taken.count == 4 { break }
      }
      #expect(server.statistics.live == 4)
      var socket: TCPSocket? = try taken[0].socket()
      #expect(server.statistics.live == 4)
      _ = socket?.peerPort
      socket = nil
      #expect(server.statistics.live == 3)
      close(taken[1].takeDescriptor())
      #expect(server.statistics.live == 2)
      let elsewhere = taken[2]
      try await EventBase.withThread { other in
        try elsewhere.socket(on: other).abort()
      }
      try await until { server.statistics.live == 1 }
      taken.removeAll()
      #expect(server.statistics.live == 0, "one that nobody wanted was closed")
      withExtendedLifetime(clients) {}
      expectBalanced(server)
    }
  }

  @Test("A socket that is detached counted counts until it is told, and not where nobody counted it")
  func detachedCounted() throws {
    let clients = try connect(2)
    let sockets = [try take(), try take()]
    sockets[0].write("held back")
    let (own, peer) = try connectedPair(loop.base)
    let bystander = try #require(own.detachCounted())
    bystander.tellEnded()
    loop.settle()
    #expect(server.statistics.live == 2, "its server has gone")

    let first = try #require(sockets[0].detachCounted())
    #expect(sockets[0].state == .unconnected)
    #expect(sockets[0].detachCounted() == nil)
    sockets[0].abort()
    #expect(server.statistics.live == 2)
    close(first.descriptor)
    OtherThread { first.tellEnded() }.join()
    #expect(loop.run { server.statistics.live == 1 })
    #expect(clients[0].nextInput() == .bytes(Array("held back".utf8)))

    #expect(sockets[0].setSocketDescriptor(bystander.descriptor))
    let uncounted = try #require(sockets[0].detachCounted())
    close(uncounted.descriptor)
    uncounted.tellEnded()
    loop.settle()
    #expect(server.statistics.live == 1, "a connection that it never counted")

    clients[1].send("x")
    #expect(sockets[1].waitForReadyRead(msec: 60_000))
    #expect(sockets[1].detachCounted() == nil, "bytes would be lost")
    #expect(server.statistics.live == 1)
    sockets[1].abort()
    #expect(server.statistics.live == 0)
    withExtendedLifetime(peer) {}
    expectBalanced(server)
  }

  @Test("A socket detached counted on another loop, and one of a server without a loop")
  func detachedCountedElsewhere() async throws {
    try await onLoop { base in
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      var connections = server.connections.makeAsyncIterator()
      let connection = try #require(await connections.next())
      try await EventBase.withThread { other in
        let (descriptor, tellEnded) = try #require(try connection.socket(on: other).detachCounted())
        close(descriptor)
        tellEnded()
        tellEnded()
      }
      try await until { server.statistics.live == 0 }

      let without = TCPServer(eventBase: nil)
      try #require(without.listen(address: .localHost))
      let other = try #require(PlainClient(to: without))
      let (descriptor, tellEnded) = try #require(acceptedSocket(of: without).detachCounted())
      #expect(without.statistics.live == 0, "nobody could be told")
      close(descriptor)
      tellEnded()
      withExtendedLifetime((client, other)) {}
    }
  }

  @Test(
    "A bare descriptor taken counted counts until it is told, on any thread, once, or nobody can tell any more"
  )
  func countedDescriptor() async throws {
    try await onLoop { base in
      let server = try listening()
      server.maxConnections = 3
      let clients = try (0..<4).map { _ in try #require(PlainClient(to: server)) }
      var connections = server.connections.makeAsyncIterator()
      let first = try #require(await connections.next())
      let (descriptor, tellEnded) = try #require(first.takeCountedDescriptor())
      #expect(first.takeCountedDescriptor() == nil && first.takeDescriptor() == -1)
      #expect(Endpoint(peerOf: descriptor)?.port == clients[0].port)
      let second = try #require(try await connections.next()?.takeCountedDescriptor())
      var third = try await connections.next()?.takeCountedDescriptor()
      let thirdDescriptor = try #require(third?.descriptor)
      await turns()
      #expect(server.statistics.live == 3)
      #expect(server.statistics.kernelQueue == 1, "the last one waits for room")

      close(descriptor)
      OtherThread { for _ in 0..<3 { tellEnded() } }.join()
      let last = try #require(await connections.next())
      tellEnded()
      #expect(server.statistics.live == 3)
      close(second.descriptor)
      second.tellEnded()
      #expect(server.statistics.live == 2)
      close(thirdDescriptor)
      third = nil
      #expect(server.statistics.live == 1)
      close(last.takeDescriptor())
      #expect(server.statistics.live == 0)
      withExtendedLifetime(clients) {}
      expectBalanced(server)
    }
  }
}
