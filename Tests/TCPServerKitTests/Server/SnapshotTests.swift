// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

@Suite("A look into a running server", .timeLimit(.minutes(5)))
struct SnapshotTests {
  /// The connections of a snapshot by their client's port.
  private func byPort(_ snapshot: TCPServer.Snapshot) -> [UInt16: TCPSocket.Snapshot] {
    Dictionary(uniqueKeysWithValues: snapshot.loops.flatMap(\.connections).map { ($0.peerPort, $0) })
  }

  /// Looks until what is looked for is there.
  private func look(
    _ server: TCPServerGroup,
    until isThere: (TCPServer.Snapshot) -> Bool
  ) async throws -> TCPServer.Snapshot {
    while true {
      let snapshot = await server.snapshot()
      if isThere(snapshot) { return snapshot }
      try Task.checkCancellation()
      await Task.yield()
    }
  }

  @Test("Each connection says what waits for it, with its bytes, on the loop that it lives on")
  func activities() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, stallLimit: nil) { $0.recordsConnectionAges = true }
      let gate = Gate()
      try await whileServing(server) { socket in
        switch try await socket.readLine().map({ String(decoding: $0, as: UTF8.self) }) {
        case "read\n": _ = try await socket.readLine()
        case "message\n": _ = try await socket.waitForMessage()
        case "write\n": try await socket.write([UInt8](repeating: 1, count: 16 << 20))
        case "work\n": await gate.pass()
        default: return
        }
      } _: {
        defer { gate.open() }
        let wants = ["read", "message", "write", "work"]
        let activities: [[TCPSocket.Snapshot.Activity]] = [
          [.reading], [.betweenMessages], [.writing], [.handling],
        ]
        let clients = try wants.map { _ in try #require(PlainClient(to: server)) }
        for (client, want) in zip(clients, wants) { client.send(want + "\n") }
        let snapshot = try await look(server) { snapshot in
          let found = byPort(snapshot)
          return zip(clients, activities).allSatisfy { found[$0.port]?.activities == $1 }
        }
        #expect(snapshot.loops.map(\.connections.count) == [2, 2])
        #expect(snapshot.loops.map(\.index) == [0, 1])
        #expect(snapshot.loops.map(\.accepts) == [true, false])
        #expect(snapshot.loops.allSatisfy { !$0.isStuck && $0.unseenConnections == 0 })
        #expect(snapshot.omittedConnections == 0)
        #expect(snapshot.port == server.serverPort && snapshot.address == .localHost)
        #expect(snapshot.statistics?.accepted == 4 && snapshot.statistics?.live == 4)
        #expect(snapshot.statistics?.acceptQueueLimit ?? 0 > 0)
        #expect(snapshot.statistics?.acceptQueueLimit == snapshot.loops[0].statistics?.acceptQueueLimit)
        #expect(snapshot.loops.map { $0.statistics?.live } == [2, 2])
        let found = byPort(snapshot)
        for (client, want) in zip(clients, wants) {
          let connection = try #require(found[client.port])
          #expect(connection.state == .connected && connection.descriptor >= 0)
          #expect(connection.peerAddress == .localHost)
          #expect(connection.bytesRead == UInt64(want.utf8.count + 1) && connection.bytesToRead == 0)
          #expect(connection.error == nil && connection.errorString.isEmpty)
          #expect(try #require(connection.age) >= .zero && connection.silence != nil)
        }
        let writing = try #require(found[clients[2].port])
        #expect(try #require(writing.bytesDelivered) + UInt64(writing.bytesToWrite) <= 16 << 20)
        #expect(writing.bytesToWrite > 0)
        #expect(found[clients[0].port]?.bytesToWrite == 0)
        // The writer has its peer's end for an error.
        for client in clients { client.end() }
      }
    }
  }

  @Test("A loop that is stuck is named so, and the others are not held up", arguments: Distribution.eachWay)
  func stuckLoop(_ distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      try await whileServing(server) { socket in
        while try await socket.readLine() != nil {}
      } _: {
        let (blocking, isBlocked) = (try Blockade(), Flag())
        group.eventBases[1].execute {
          isBlocked.set()
          blocking.block()
        }
        defer { blocking.open() }
        while !isBlocked.isSet { try await until { isBlocked.isSet } }
        // Another loop may be late, on a machine that is busy.
        var snapshot: TCPServer.Snapshot
        repeat {
          snapshot = await server.snapshot(patience: .milliseconds(50))
          try Task.checkCancellation()
          #expect(snapshot.loops[1].isStuck)
        } while snapshot.loops[0].isStuck
        #expect(snapshot.loops[1].delay == nil)
        #expect(snapshot.loops[1].statistics != nil)
        #expect(snapshot.loops[1].connections.isEmpty)
        #expect(snapshot.description.contains("\nloop 1"))
        #expect(snapshot.description.contains(": STUCK, it has not answered; live 0"))
        #expect(snapshot.json.contains(#""isStuck":true,"delay":null"#))
        // Its questions wait for it, and are thrown away then.
        let later = await server.snapshot(patience: .zero)
        #expect(later.loops[1].isStuck && later.loops[1].waitingJobs > 0)
        blocking.open()
        _ = try await look(server) { $0.loops.allSatisfy { !$0.isStuck } }
      }
    }
  }

  @Test("A loop that only accepts comes last, and where each accepts, each says so")
  func acceptingLoops() async throws {
    try await onLoops(2, accepting: .ownThread) { group in
      let server = TCPServerGroup(on: group)
      #expect(await server.snapshot(patience: Loop.limit).loops.isEmpty)
      try await whileServing(server) { _ in
      } _: {
        let loops = await server.snapshot(patience: Loop.limit).loops
        #expect(loops.map(\.accepts) == [false, false, true])
        #expect(loops.map(\.index) == [0, 1, 2])
        #expect(loops[2].statistics?.acceptQueueLimit ?? 0 > 0 && loops[2].connections.isEmpty)
        #expect(loops[0].statistics?.acceptQueueLimit == 0)
      }
    }
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: .shards)
      try await whileServing(server) { _ in
      } _: {
        #expect(await server.snapshot().loops.map(\.accepts) == [true, true])
      }
    }
  }

  @Test("So many connections as were asked for are listed, the oldest, and the rest are counted")
  func bounded() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, stallLimit: nil) { $0.recordsConnectionAges = true }
      try await whileServing(server) { socket in
        try await socket.write("x")
        while try await socket.readLine() != nil {}
      } _: {
        // One after the other, so that each is younger than the one before; more than are looked at in one turn.
        var clients: [PlainClient] = []
        for _ in 0..<150 {
          let client = try #require(PlainClient(to: server))
          #expect(client.receive(exactly: 1) == [0x78])
          // The age is recorded at the end of the turn.
          try await server.withServers { _, _ in }
          clients.append(client)
        }
        let snapshot = await server.snapshot(listing: 5, patience: Loop.limit)
        let oldest = Set(clients.prefix(5).map(\.port))
        #expect(Set(byPort(snapshot).keys) == oldest)
        #expect(snapshot.omittedConnections == 145)
        #expect(snapshot.loops.map { $0.connections.count + $0.omittedConnections } == [75, 75])
        for loop in snapshot.loops {
          #expect(loop.connections.map(\.leastAge) == loop.connections.map(\.leastAge).sorted(by: >))
        }
        let all = await server.snapshot(patience: Loop.limit)
        #expect(Set(byPort(all).keys) == Set(clients.map(\.port)) && all.omittedConnections == 0)
        let none = await server.snapshot(listing: -1, patience: Loop.limit)
        #expect(byPort(none).isEmpty && none.omittedConnections == 150)
        #expect(none.description.contains("\n  left out: 75\n"))
      }
    }
  }

  // MARK: - One server

  @Test("One server answers from every task, and a loop that no thread runs is stuck")
  func oneServer() async throws {
    try await onLoop { base in
      let server = try listening(on: base)
      let client = try #require(PlainClient(to: server))
      let socket = try #require(try await server.accept())
      let here = await server.snapshot(patience: Loop.limit)
      let there = await Task.detached { await server.snapshot(patience: Loop.limit) }.value
      for snapshot in [here, there] {
        #expect(snapshot.port == server.serverPort && snapshot.statistics?.accepted == 1)
        #expect(snapshot.loops.count == 1 && snapshot.loops[0].accepts)
        // Nothing was done with it, nor does the server limit its connections.
        #expect(snapshot.loops[0].unseenConnections == 1 && snapshot.loops[0].connections.isEmpty)
        #expect(snapshot.description.hasSuffix("\n  unseen: 1"))
      }
      let pending = try #require(PlainClient(to: server))
      try await until { server.hasPendingConnections }
      #expect(await server.snapshot(patience: Loop.limit).loops[0].unseenConnections == 1)
      socket.readyRead.connect {}
      let loop = await server.snapshot(patience: Loop.limit).loops[0]
      #expect(loop.unseenConnections == 0 && loop.connections.map(\.peerPort) == [client.port])
      #expect(loop.connections.first?.activities == [.handlers])
      #expect(pending.port != client.port)
    }
    let idle = try EventBase()
    let server = TCPServer(eventBase: idle)
    #expect(server.listen(address: .localHost))
    let snapshot = await Task.detached { await server.snapshot(patience: .milliseconds(1)) }.value
    #expect(snapshot.loops[0].isStuck && snapshot.statistics == nil && snapshot.address.isNull)
    #expect(snapshot.description.hasPrefix("server, not listening\nloop 0 (accepts): STUCK"))
  }

  @Test("A server without a loop gives its numbers")
  func withoutLoop() async throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    server.waitForNewConnectionBlocking(msec: 60000)
    _ = server.nextPendingConnection()
    let snapshot = await server.snapshot()
    #expect(snapshot.port == server.serverPort && client.port != 0)
    #expect(snapshot.statistics?.delivered == 1)
  }

  @Test("The server's last error on the loop is in it")
  func serverError() async throws {
    try await onLoop { base in
      let first = try listening(on: base)
      let second = TCPServer(eventBase: base)
      #expect(!second.listen(address: .localHost, port: first.serverPort))
      let snapshot = await second.snapshot(patience: Loop.limit)
      #expect(snapshot.loops[0].errorString == second.errorString && !second.errorString.isEmpty)
      #expect(snapshot.description.hasSuffix("; last error: \(second.errorString)"))
    }
  }

  // MARK: - One connection

  @Test("Ages are recorded on request alone; of silent connections the kernel knows them")
  func ages() async throws {
    try await onLoop { base in
      let server = try listening(on: base)
      server.maxConnections = 10
      func connect() async throws -> (TCPSocket, PlainClient) {
        let client = try #require(PlainClient(to: server))
        let socket = try #require(try await server.accept())
        await turns()
        return (socket, client)
      }
      let (plain, client) = try await connect()
      #expect(plain.existingDetails == nil)
      #expect(plain.snapshot().age != nil, "nothing has gone either way")
      client.send("x")
      _ = try await plain.read(maxLength: 1)
      #expect(plain.snapshot().age != nil, "nothing was sent")
      try await plain.write("y")
      #expect(client.receive(exactly: 1) == [0x79])
      try await until { plain.snapshot().bytesDelivered == 1 }
      #expect(plain.snapshot().age == nil && plain.snapshot().silence != nil)
      server.recordsConnectionAges = true
      #expect(server.recordsConnectionAges)
      let (recorded, other) = try await connect()
      other.send("x")
      _ = try await recorded.read(maxLength: 1)
      try await recorded.write("y")
      #expect(other.receive(exactly: 1) == [0x79])
      #expect(recorded.snapshot().age != nil)
      #expect(plain.snapshot().age == nil, "it was accepted before")
      server.recordsConnectionAges = false
      let (last, _) = try await connect()
      #expect(last.existingDetails == nil)
    }
  }

  @Test("Bytes are those of the program's side and of the peer's, and an end is none")
  func bytes() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let (socket, client) = (pair.socket, pair.client)
      client.send("12345")
      client.endWriting()
      try await until { socket.snapshot().bytesToRead == 5 }
      #expect(socket.snapshot().bytesRead == 0)
      #expect(text(try await socket.read(maxLength: 2)) == "12")
      #expect(socket.snapshot().bytesRead == 2 && socket.snapshot().bytesToRead == 3)
      _ = try await socket.read(maxLength: 3)
      #expect(try await socket.read(maxLength: 1) == nil)
      #expect(socket.snapshot().bytesRead == 5 && socket.snapshot().bytesToRead == 0)
      try await socket.write("123")
      try await until { socket.snapshot().bytesDelivered == 3 }
      #expect(socket.snapshot().bytesToWrite == 0)
      let second = try await Pair()
      let (fresh, peer) = (second.socket, second.client)
      ({ _ = fresh.write("1234") })()
      fresh.disconnectFromHost()
      #expect(fresh.snapshot().activities.contains(.closing) && fresh.snapshot().state == .closing)
      try await until { fresh.snapshot().bytesDelivered == 4 }
      #expect(fresh.snapshot().bytesToWrite == 0)
      peer.end()
      try await until { fresh.state == .unconnected }
      let ended = fresh.snapshot()
      #expect(
        ended.descriptor == -1 && ended.bytesRead == nil && ended.age == nil && ended.activities.isEmpty
      )
    }
  }

  @Test("What waits beside reading and writing, and the last error")
  func otherActivities() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      let ends = start { try await socket.waitUntilPeerEnded() }
      let write = { socket.write(pattern(16 << 20)) }
      #expect(write() == 16 << 20)
      let closes = start { await socket.closeGracefully() }
      #expect(Set(socket.snapshot().activities) == [.waitingForEnd, .waitingForState, .closing])
      pair.client.reset()
      _ = await (ends.result, closes.result)
      let refused = TCPSocket()
      #expect(!refused.setSocketDescriptor(-1))
      #expect(refused.snapshot().error == refused.error)
      #expect(refused.snapshot().errorString == refused.errorString)
      #expect(refused.snapshot().description.hasSuffix("; nothing waits; last error: \(refused.errorString)"))
    }
  }
}
