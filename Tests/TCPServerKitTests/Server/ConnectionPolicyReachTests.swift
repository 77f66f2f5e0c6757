// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

@Suite("Which connections a policy reaches", .timeLimit(.minutes(5)))
struct ConnectionPolicyReachTests {
  private static let idle = ConnectionPolicy(idle: .milliseconds(500))

  @Test("All of a crowd, more than the loop looks at in a turn, and only those")
  func crowd() async throws {
    try await whileServing(by: ConnectionPolicy(firstByte: .seconds(1))) { socket in
      _ = try await socket.readLine()
    } _: { bound, ends in
      var clients: [PlainClient] = []
      for number in 0..<600 {
        let client = try #require(PlainClient(to: bound.value))
        if number % 3 == 0 { client.send("x") }
        clients.append(client)
        await Task.yield()
        // Gaps in the list.
        if number % 7 == 6 { clients[number - 1].reset() }
      }
      try await until { bound.value.statistics.firstByteTimeouts > 0 }
      try await until {
        let now = bound.value.statistics
        return now.live == clients.enumerated().count { $0.offset % 3 == 0 && $0.element.descriptor >= 0 }
      }
      for client in clients where client.descriptor >= 0 {
        client.send("\n")
        client.end()
      }
      try await until { bound.value.statistics.live == 0 }
      #expect(ends.value.count == clients.count)
    }
  }

  @Test("Those of all loops of a group, which counts them together", arguments: Distribution.eachWay)
  func group(distribution: Distribution) async throws {
    try await onLoops { loops in
      let server = TCPServerGroup(on: loops, distribution: distribution) {
        $0.connectionPolicy = ConnectionPolicy(maximumAge: .seconds(600))
      }
      #expect(server.connectionPolicy == nil)
      server.connectionPolicy = Self.idle
      #expect(server.connectionPolicy == Self.idle)
      try await whileServing(server) { socket in
        _ = try await socket.readLine()
      } _: {
        let clients = try (0..<8).map { _ in try #require(PlainClient(to: server)) }
        for client in clients { #expect(client.nextInput() == .end) }
        #expect(server.statistics.idleTimeouts == 8)
        #expect(server.statisticsByLoop.reduce(0) { $0 + $1.idleTimeouts } == 8)
        // At run time, each loop soon.
        server.connectionPolicy = nil
        try await server.withServers { one, _ in #expect(one.connectionPolicy == nil) }
        let late = try #require(PlainClient(to: server))
        server.connectionPolicy = Self.idle
        try await server.withServers { one, _ in #expect(one.connectionPolicy == Self.idle) }
        late.send("\n")
      }
    }
  }

  @Test("Relays end with their client, and the other side with them")
  func relay() async throws {
    try await onLoop { _ in
      let upstream = try listening()
      let server = try listening()
      server.connectionPolicy = Self.idle
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      let outgoing = TCPSocket()
      try await outgoing.connect(to: "127.0.0.1", port: upstream.serverPort)
      let other = try #require(await upstream.accept())
      await #expect(throws: SocketError.idleTimeout) { try await socket.relay(with: outgoing) }
      await #expect(throws: SocketError.remoteHostClosed) { try await other.readLine() }
      withExtendedLifetime(client) {}
    }
  }

  @Test("A task that iterates over lines gets the error")
  func lines() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.connectionPolicy = Self.idle
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      client.send("one\n")
      var lines: [String] = []
      await #expect(throws: SocketError.idleTimeout) {
        for try await line in socket.lines { lines.append(line) }
      }
      #expect(lines == ["one"])
    }
  }

  @Test("Sockets that take the descriptor in an override, or on another loop, and are counted")
  func otherWays() async throws {
    try await onLoop { _ in
      let server = OverridingServer()
      let taken = LoopBound(TCPSocket())
      server.onIncoming = { _, descriptor in taken.value.setSocketDescriptor(descriptor) }
      server.connectionPolicy = Self.idle
      try #require(server.listen(address: .localHost))
      let client = try #require(PlainClient(to: server))
      try await until { taken.value.state == .connected }
      await #expect(throws: SocketError.idleTimeout) { try await taken.value.readLine() }
      #expect(server.statistics.idleTimeouts == 1)
      withExtendedLifetime(client) {}

      let plain = try listening()
      plain.connectionPolicy = Self.idle
      let second = try #require(PlainClient(to: plain))
      var connections = plain.incomingConnections.makeAsyncIterator()
      let connection = try #require(try await connections.next())
      try await EventBase.withThread { other in
        let socket = try connection.socket(on: other)
        await #expect(throws: SocketError.idleTimeout) { try await socket.readLine() }
      }
      #expect(plain.statistics.idleTimeouts == 1)
      withExtendedLifetime(second) {}
    }
  }

  @Test("On another loop they leave the list of that loop, however they end")
  func endsElsewhere() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.connectionPolicy = ConnectionPolicy(idle: .seconds(600))
      let clients = try (0..<3).map { _ in try #require(PlainClient(to: server)) }
      var connections: [IncomingConnection] = []
      for try await connection in server.incomingConnections {
        connections.append(connection)
        if connections.count == clients.count { break }
      }
      try await EventBase.withThread { [connections] other in
        let list = LoopBound(try #require(other.socketContext.loop).deadlines)
        let aborted = try connections[0].socket(on: other)
        #expect(!list.value.isEmpty)
        aborted.abort()
        #expect(list.value.isEmpty)
        let given = try connections[1].socket(on: other).detach()
        close(given)
        #expect(list.value.isEmpty)
        let last = Shared<TCPSocket?>(try connections[2].socket(on: other))
        #expect(!list.value.isEmpty)
        // The last reference goes on another thread.
        OtherThread { last.value = nil }.join()
        try await until { list.value.isEmpty }
      }
      try await until { server.statistics.live == 0 }
      withExtendedLifetime(clients) {}
    }
  }

  @Test("One that is added to another server is under the policy of that", arguments: [false, true])
  func addedElsewhere(hasPolicy: Bool) async throws {
    try await onLoop { base in
      let (first, second) = (try listening(), TCPServer())
      first.connectionPolicy = ConnectionPolicy(idle: .seconds(600))
      if hasPolicy { second.connectionPolicy = Self.idle }
      let client = try #require(PlainClient(to: first))
      let socket = try #require(await first.accept())
      let list = try #require(base.socketContext.loop).deadlines
      #expect(!list.isEmpty)
      second.addPendingConnection(socket)
      #expect(second.nextPendingConnection() === socket)
      #expect(list.isEmpty != hasPolicy)
      if hasPolicy {
        await #expect(throws: SocketError.idleTimeout) { try await socket.readLine() }
        #expect(first.statistics.idleTimeouts == 0 && second.statistics.idleTimeouts == 1)
      }
      socket.abort()
      #expect(list.isEmpty)
      withExtendedLifetime(client) {}
    }
  }

  @Test("A socket that is used for another connection has no age")
  func usedAgain() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.connectionPolicy = ConnectionPolicy(maximumAge: .milliseconds(500), grace: .seconds(600))
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      try await until { socket.isPastMaximumAge }
      socket.abort()
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      #expect(!socket.isPastMaximumAge)
      withExtendedLifetime(client) {}
    }
  }

  @Test("Not those that the program has made, or given away, nor released ones")
  func notOthers() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.connectionPolicy = Self.idle
      let own = TCPSocket()
      try await own.connect(to: "127.0.0.1", port: server.serverPort)
      let accepted = try #require(await server.accept())
      let given = accepted.detach()
      defer { close(given) }
      let (limited, released) = (
        try #require(PlainClient(to: server)), try #require(PlainClient(to: server))
      )
      let socket = try #require(await server.accept())
      // The last reference goes on another thread.
      let last = Shared(try await server.accept())
      OtherThread { last.value = nil }.join()
      try await until { released.input() == .end }
      await #expect(throws: SocketError.idleTimeout) { try await socket.readLine() }
      #expect(server.statistics.idleTimeouts == 1)
      #expect(own.state == .connected && accepted.error != .idleTimeout)
      withExtendedLifetime(limited) {}
    }
  }

  @Test("A PROXY header is no first byte")
  func proxyHeader() async throws {
    try await onLoop { _ in
      let server = TCPServer()
      server.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["127.0.0.0/8"], timeout: Loop.limit)
      server.connectionPolicy = ConnectionPolicy(firstByte: .milliseconds(500))
      try #require(server.listen(address: .localHost))
      let (silent, sender) = (try #require(PlainClient(to: server)), try #require(PlainClient(to: server)))
      silent.send("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")
      let socket = try #require(await server.accept())
      sender.send("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nx")
      let other = try #require(await server.accept())
      await #expect(throws: SocketError.firstByteTimeout) { try await socket.readLine() }
      sender.send("y\n")
      #expect(text(try await other.readLine()) == "xy\n")
    }
  }

  @Test("Nor is it one where the connection becomes a socket on another loop")
  func proxyHeaderElsewhere() async throws {
    try await onLoop { _ in
      let server = TCPServer()
      server.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["127.0.0.0/8"], timeout: Loop.limit)
      server.connectionPolicy = ConnectionPolicy(firstByte: .milliseconds(500))
      try #require(server.listen(address: .localHost))
      let silent = try #require(PlainClient(to: server))
      silent.send("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")
      var connections = server.incomingConnections.makeAsyncIterator()
      let connection = try #require(try await connections.next())
      try await EventBase.withThread { other in
        let socket = try connection.socket(on: other)
        #expect(socket.proxied == connection.proxied)
        await #expect(throws: SocketError.firstByteTimeout) { try await socket.readLine() }
      }
      withExtendedLifetime(silent) {}
    }
  }

  @Test("Of UNIX sockets only the age counts")
  func unixSockets() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try listening(at: folder)
      server.connectionPolicy = ConnectionPolicy(
        firstByte: .milliseconds(250),
        idle: .milliseconds(250),
        maximumAge: .seconds(1),
        grace: .seconds(1),
        minimumRate: 1 << 20
      )
      let client = TCPSocket()
      try await client.connect(path: folder.path)
      let socket = try #require(await server.accept())
      await #expect(throws: SocketError.ageLimit) { try await socket.readLine() }
      server.connectionPolicy = Self.idle
      let second = TCPSocket()
      try await second.connect(path: folder.path)
      let unlimited = try #require(await server.accept())
      try await second.write("hello\n")
      #expect(text(try await unlimited.readLine()) == "hello\n")
      #expect(server.statistics.idleTimeouts == 0)
    }
  }

  @Test("Handlers may end other connections, and the server, from the error that one ends with")
  func reentrancy() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.connectionPolicy = ConnectionPolicy(idle: .seconds(600))
      var (clients, sockets): ([PlainClient], [TCPSocket]) = ([], [])
      let errors = Counter()
      for _ in 0..<20 {
        clients.append(try #require(PlainClient(to: server)))
        sockets.append(try #require(await server.accept()))
      }
      let bound = LoopBound(sockets)
      for socket in sockets {
        socket.errorOccurred.connect { [unowned server] error in
          errors.increment()
          for other in bound.value where other.state == .connected { other.abort() }
          server.close()
        }
      }
      server.connectionPolicy = Self.idle
      try await until { sockets.allSatisfy { $0.state == .unconnected } }
      #expect(errors.value == 1 && server.statistics.idleTimeouts == 1 && server.statistics.live == 0)
      sockets.removeAll()
    }
  }
}
