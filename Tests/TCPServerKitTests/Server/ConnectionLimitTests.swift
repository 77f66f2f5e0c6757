// SPDX-License-Identifier: Apache-2.0

import Glibc
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
    #expect(server.excessConnectionPolicy == .wait)
    server.maxConnections = 2
    #expect(server.maxConnections == 2)
    let clients = try connect(5)
    let first = try take()
    let second = try take()
    loop.settle()
    #expect(server.statistics.live == 2)
    #expect(server.statistics.acceptQueue == 3)
    #expect(server.statistics.overloadPauses == 1)
    first.abort()
    #expect(try take().peerPort == clients[2].port)  // released at once, so the next follows
    #expect(try take().peerPort == clients[3].port)
    server.maxConnections = 3
    let kept = [try take(), second]
    server.maxConnections = nil
    #expect(server.statistics.live == UInt64(kept.count))
    expectBalanced(server)
  }

  @Test("Or they are rejected, and reported", arguments: [ExcessConnectionPolicy.close, .reset])
  func turnsAway(_ excess: ExcessConnectionPolicy) throws {
    var rejected: [RejectedConnection] = []
    server.connectionRejected.connect { rejected.append($0) }
    server.maxConnections = 1
    server.excessConnectionPolicy = excess
    #expect(server.maxConnections == 1 && server.excessConnectionPolicy == excess)
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

  @Test("A limit of 0, or of less, accepts no client until it is raised", arguments: [0, -1, .min])
  func none(limit: Int) throws {
    server.maxConnections = limit
    #expect(server.maxConnections == 0)
    let clients = try connect(2)
    loop.settle()
    #expect(server.statistics.accepted == 0 && server.statistics.acceptQueue == 2)
    server.maxConnections = 1
    #expect(try take().peerPort == clients[0].port)
    expectBalanced(server)
  }

  @Test(
    "With a policy that rejects, a limit of 0 rejects all",
    arguments: [ExcessConnectionPolicy.close, .reset]
  )
  func noneAndRejected(_ excess: ExcessConnectionPolicy) throws {
    server.maxConnections = 0
    server.excessConnectionPolicy = excess
    let clients = try connect(2)
    #expect(loop.run { server.statistics.rejectedByLimit == 2 })
    for client in clients { #expect(client.nextInput() == (excess == .close ? .end : .failed(ECONNRESET))) }
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

  @Test(
    "A socket made in incomingConnection(_:) counts, added or not; a bare descriptor until its permit is released"
  )
  func overriding() throws {
    var sockets: [TCPSocket] = []
    var bare: CInt = -1
    var permit: ConnectionPermit?
    var count = 0
    server.onIncoming = { server, descriptor in
      count += 1
      if count == 3 {
        bare = descriptor
        permit = server.takeIncomingPermit()
        #expect(server.takeIncomingPermit() == nil)
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
    permit?.release()
    permit?.release()
    #expect(loop.run { server.statistics.live == 0 })
    #expect(server.takeIncomingPermit() == nil)
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  @Test("Permits of bare descriptors may be released on another thread, also when the server has gone")
  func permitsElsewhere() throws {
    let bare = Locked<[(CInt, ConnectionPermit?)]>([])
    server.onIncoming = { server, descriptor in
      let permit = server.takeIncomingPermit()
      bare.withLock { $0.append((descriptor, permit)) }
    }
    let clients = try connect(3)
    #expect(loop.run { bare.withLock { $0.count } == 3 })
    OtherThread {
      for (descriptor, permit) in bare.withLock({ $0.prefix(2) }) {
        close(descriptor)
        permit?.release()
      }
    }.join()
    #expect(server.statistics.live == 3, "looked at on the loop alone")
    #expect(loop.run { server.statistics.live == 1 })
    let (descriptor, permit) = bare.withLock { $0[2] }
    close(descriptor)
    bare.withLock { $0.removeAll() }
    #expect(permit != nil)
    permit?.release()
    #expect(loop.run { server.statistics.live == 0 })
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  @Test("A bare descriptor without a permit counts no longer than the call")
  func bareWithoutPermit() throws {
    var bare: [CInt] = []
    server.maxConnections = 1
    server.onIncoming = { _, descriptor in bare.append(descriptor) }
    let clients = try connect(3)
    #expect(loop.run { bare.count == 3 })
    #expect(server.statistics.live == 0)
    bare.forEach { close($0) }
    withExtendedLifetime(clients) {}
    expectBalanced(server)
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
      for try await connection in server.incomingConnections {
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

  @Test(
    "A permit taken out of a socket counts until it is released, and there is one where the socket counts"
  )
  func permitOfSocket() throws {
    let clients = try connect(2)
    let sockets = [try take(), try take()]
    sockets[0].write("held back")
    let (own, peer) = try connectedPair(loop.base)
    #expect(own.takePermit() != nil, "its server's core stays as long as it counts there")
    #expect(own.takePermit() == nil)
    let bystander = own.detach()

    let permit = try #require(sockets[0].takePermit())
    #expect(sockets[0].takePermit() == nil)
    let descriptor = sockets[0].detach()
    #expect(descriptor >= 0)
    #expect(server.statistics.live == 2)
    close(descriptor)
    OtherThread { permit.release() }.join()
    #expect(loop.run { server.statistics.live == 1 })
    #expect(clients[0].nextInput() == .bytes(Array("held back".utf8)))

    #expect(sockets[0].setSocketDescriptor(bystander))
    #expect(sockets[0].takePermit() == nil, "a connection that the server never counted")
    sockets[0].abort()
    loop.settle()
    #expect(server.statistics.live == 1)

    var second = sockets[1].takePermit()
    #expect(second != nil)
    sockets[1].abort()
    #expect(server.statistics.live == 1)
    second = nil
    #expect(loop.run { server.statistics.live == 0 })
    withExtendedLifetime(peer) {}
    expectBalanced(server)
  }

  @Test("A permit of a socket on another loop, and none of a server without a loop")
  func permitElsewhere() async throws {
    try await onLoop { base in
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      var connections = server.incomingConnections.makeAsyncIterator()
      let connection = try #require(await connections.next())
      try await EventBase.withThread { other in
        let socket = try connection.socket(on: other)
        let permit = try #require(socket.takePermit())
        close(socket.detach())
        permit.release()
        permit.release()
      }
      try await until { server.statistics.live == 0 }

      let without = TCPServer(eventBase: nil)
      try #require(without.listen(address: .localHost))
      let other = try #require(PlainClient(to: without))
      let socket = try acceptedSocket(of: without)
      #expect(socket.takePermit() == nil)
      close(socket.detach())
      #expect(without.statistics.live == 0)
      withExtendedLifetime((client, other)) {}
    }
  }

  @Test("A permit taken before the bare descriptor counts until it is released, on any thread, once")
  func permitOfIncoming() async throws {
    try await onLoop { base in
      let server = try listening()
      server.maxConnections = 3
      let clients = try (0..<4).map { _ in try #require(PlainClient(to: server)) }
      var connections = server.incomingConnections.makeAsyncIterator()
      let first = try #require(await connections.next())
      let permit = try #require(first.takePermit())
      let descriptor = first.takeDescriptor()
      #expect(first.takePermit() == nil && first.takeDescriptor() == -1)
      #expect(Endpoint(peerOf: descriptor)?.port == clients[0].port)
      let second = try #require(try await connections.next())
      let secondPermit = try #require(second.takePermit())
      var third = try await connections.next()?.takePermit()
      await turns()
      #expect(third != nil)
      #expect(server.statistics.live == 3, "the third was closed, and its permit is there")
      #expect(server.statistics.acceptQueue == 1, "the last one waits for room")

      close(descriptor)
      OtherThread { for _ in 0..<3 { permit.release() } }.join()
      let last = try #require(await connections.next())
      permit.release()
      #expect(server.statistics.live == 3)
      let socket = try second.socket(on: base)
      socket.abort()
      #expect(server.statistics.live == 3, "a socket whose permit was taken before")
      secondPermit.release()
      #expect(server.statistics.live == 2)
      third = nil
      #expect(server.statistics.live == 1)
      close(last.takeDescriptor())
      #expect(server.statistics.live == 0)
      withExtendedLifetime(clients) {}
      expectBalanced(server)
    }
  }
}
