// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import Testing

@testable import TCPServerKit

@Suite("Several loops, each of which accepts for itself", .timeLimit(.minutes(5)))
struct OwnSocketsTests {
  fileprivate static let ways: [Distribution] = [.sharedQueue, .shards]

  @Test("Each connection is served once, on one of the loops, and the report is the sum", arguments: ways)
  func serves(distribution: Distribution) async throws {
    try await onLoops(3, accepting: .ownThread) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      #expect(!server.isListening && server.statistics.accepted == 0)
      server.pauseAccepting()
      let ports = Locked<[UInt16]>([])
      let report = try await whileServing(server) { socket in
        #expect(group.eventBases.contains { $0 === EventBase.current })
        ports.withLock { $0.append(socket.peerPort) }
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: {
        let clients = (0..<60).compactMap { _ in PlainClient(to: server) }
        for client in clients { client.send("ping\n") }
        for client in clients { #expect(client.receive(exactly: 5) == Array("ping\n".utf8)) }
        #expect(server.statistics.live == 60)
        #expect(server.statisticsByLoop.map(\.live).reduce(0, +) == 60)
        #expect(ports.withLock { Set($0) } == Set(clients.map(\.port)))
      }
      #expect(report.served == 60)
      #expect(server.statistics.accepted == 60 && server.statistics.delivered == 60)
      #expect(!server.isListening)
      #expect(server.serverPort == 0 && server.serverAddress.isNull)
    }
  }

  @Test("A loop whose thread is blocked takes nothing from the common queue")
  func blockedLoop() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: .sharedQueue)
      let blocking = try Blockade()
      let isBlocked = Flag()
      try await server.listen(address: .localHost)
      group.eventBases[1].execute {
        isBlocked.set()
        blocking.block()
      }
      try await until { isBlocked.isSet }
      defer { blocking.open() }
      let clients = (0..<10).compactMap { _ in PlainClient(to: server) }
      try await until { server.statisticsByLoop.first?.accepted == 10 }
      #expect(server.statisticsByLoop.map(\.pending) == [10, 0])
      #expect(clients.count == 10)
      server.close()
      blocking.open()
      try await until { server.statistics.discardedOnClose == 10 }
      expectBalanced(server)
    }
  }

  @Test(
    "The limit of the first server is that of all, also where clients beyond it are closed",
    arguments: ways
  )
  func limits(distribution: Distribution) async throws {
    try await onLoops(3) { group in
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        server.maxConnections = 5
        if case .shards = distribution { #expect(server.acceptBatchSize == 64) }
      }
      try await server.listen(address: .localHost)
      let clients = (0..<20).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.live == 5 && server.statistics.overloadPauses > 0 }
      try await server.withAcceptor { acceptor in
        #expect(acceptor.maxConnections == 5)
        acceptor.maxConnections = 7
      }
      // Each has a limit of its own, too.
      try await server.withServers { member, _ in member.maxConnections = nil }
      try await until { server.statistics.live == 7 }
      try await server.withAcceptor { $0.excessConnectionPolicy = .close }
      try await until { server.statistics.rejectedByLimit == 13 }
      #expect(server.statistics.live == 7)
      #expect(clients.count == 20)
      server.close()
      try await until { server.statistics.live == 0 }
      expectBalanced(server)
    }
  }

  @Test("Pausing the group pauses all loops", arguments: Distribution.eachWay)
  func pauses(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      server.resumeAccepting()  // which has no servers yet
      try await server.listen(address: .localHost)
      server.pauseAccepting()
      try await server.withServers { _, _ in }
      try await server.withAcceptor { _ in }
      let clients = (0..<8).compactMap { _ in PlainClient(to: server) }
      try await server.withServers { _, _ in }
      try await server.withAcceptor { _ in }
      #expect(server.statistics.accepted == 0)
      server.resumeAccepting()
      try await until { server.statistics.accepted == 8 }
      #expect(clients.count == 8)
      server.close()
      try await until { server.statistics.live == 0 }
    }
  }

  @Test("Sockets that were made elsewhere are adopted: one for all, or one for each")
  func adopts() async throws {
    try await onLoops(2) { group in
      let one = TCPServerGroup(on: group, distribution: .sharedQueue)
      try await one.setSocketDescriptor(Descriptors.listening())
      await #expect(throws: SocketError.operation) { try await one.setSocketDescriptors([]) }
      try await whileServing(one) {
        try await $0.write("x")
      } _: {
        let client = try #require(PlainClient(to: one))
        #expect(client.receive(exactly: 1) == [0x78])
      }

      let first = TCPServerGroup(on: group, distribution: .shards)
      try await first.listen(address: .localHost)
      let port = first.serverPort
      let sockets = Locked<[CInt]>([])
      try await first.withServers { member, _ in sockets.withLock { $0.append(dup(member.socketDescriptor)) }
      }
      first.close()
      let second = TCPServerGroup(on: group, distribution: .shards)
      try await second.setSocketDescriptors(sockets.withLock { $0 })
      #expect(second.serverPort == port && second.isListening)
      try await whileServing(second) {
        try await $0.write("x")
      } _: {
        let clients = (0..<20).compactMap { _ in PlainClient(to: second) }
        #expect(clients.allSatisfy { $0.receive(exactly: 1) == [0x78] })
        #expect(second.statistics.accepted == 20)
      }
    }
  }

  @Test("Sockets that are refused are the caller's, as they were")
  func refuses() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: .shards)
      let listening = [Descriptors.listening(), Descriptors.listening()]
      for descriptor in listening { _ = fcntl(descriptor, F_SETFL, 0) }
      func expectUntouched(_ text: String) async throws {
        #expect(listening.allSatisfy { fcntl($0, F_GETFL) & O_NONBLOCK == 0 })
        #expect(!server.isListening)
        #expect(try await server.withAcceptor { $0.errorString } == text)
      }
      await #expect(throws: SocketError.operation) { try await server.setSocketDescriptors(listening) }
      try await expectUntouched("The sockets of a group listen on one address")
      await #expect(throws: SocketError.operation) { try await server.setSocketDescriptor(listening[0]) }
      try await expectUntouched("A group takes as many sockets as it has loops, or one for all")
      await #expect(throws: SocketError.unsupportedSocketOperation) {
        try await server.setSocketDescriptors([listening[0], -1])
      }
      #expect(listening.allSatisfy { fcntl($0, F_GETFL) & O_NONBLOCK == 0 })
      for descriptor in listening { close(descriptor) }
      let placing = TCPServerGroup(on: group)
      await #expect(throws: SocketError.operation) { try await placing.setSocketDescriptors([]) }
    }
  }

  @Test("Where one loop cannot watch its socket, no loop listens and nothing is left open")
  func oneLoopFails() async {
    await #expect(processExitsWith: .success) {
      for distribution in OwnSocketsTests.ways {
        try await onLoops(2) { group in
          let server = TCPServerGroup(on: group, distribution: distribution)
          let failNext: @Sendable (TCPServer, Int) -> Void = { _, index in
            if index == 1 { fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOMEM) }
          }
          try await server.withServers(failNext)
          let before = Descriptors.census().sockets
          await #expect(throws: SocketError.socketResource) { try await server.listen(address: .localHost) }
          #expect(Descriptors.census().sockets == before)
          #expect(!server.isListening)

          try await server.withServers(failNext)
          let own = Descriptors.listening()
          _ = fcntl(own, F_SETFL, 0)
          if case .sharedQueue = distribution {
            await #expect(throws: SocketError.socketResource) { try await server.setSocketDescriptor(own) }
            #expect(fcntl(own, F_GETFL) & O_NONBLOCK == 0)
          }
          close(own)
          #expect(Descriptors.census().sockets == before)

          try await server.withServers { _, _ in fault_clear() }
          try await server.listen(address: .localHost)
          let client = try #require(PlainClient(to: server))
          try await until { server.statistics.accepted == 1 }
          client.endWriting()
          server.close()
        }
      }
    }
  }

  @Test("A proxy has one server: the group does not listen through one", arguments: ways)
  func proxy(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution) {
        $0.proxy = .socks5(hostName: "127.0.0.1", port: 9)
      }
      await #expect(throws: SocketError.unsupportedSocketOperation) { try await server.listen() }
      #expect(try await server.withAcceptor { $0.errorString } == "Through a proxy one loop accepts for all")
      try await server.listen(address: .localHost)  // which needs none
      server.close()
    }
  }

  @Test("A cancelled task does not listen", arguments: ways)
  func cancelled(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      let begins = Gate()
      let listening = Task {
        await begins.pass()
        try await server.listen(address: .localHost)
      }
      listening.cancel()
      begins.open()
      await #expect(throws: CancellationError.self) { try await listening.value }
      #expect(!server.isListening)
      try await server.listen(address: .localHost)
      server.close()
    }
  }

  @Test("What is closed while it begins to listen does not listen", arguments: ways)
  func closedMeanwhile(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let blocking = try Blockade()
      let isBlocked = Flag()
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        // The second loop gets its socket when the test lets it.
        server.socketPreparation = { _ in
          if !isBlocked.isSet { group.eventBases[1].execute { blocking.block() } }
          isBlocked.set()
          return 0
        }
      }
      try await server.withServers { _, _ in }
      let first = try #require(server.members?.servers.first)
      let listening = Task(executorPreference: group.eventBases[0].taskExecutor) {
        try await server.listen(address: .localHost)
      }
      while !(await first.onLoop { $0.isListeningNow }) { try Task.checkCancellation() }
      await #expect(throws: SocketError.operation) { try await server.listen() }
      #expect(!server.isListening)
      server.close()
      blocking.open()
      try await listening.value
      #expect(!server.isListening)
      try await server.withServers { member, _ in #expect(!member.isListening) }
      try await server.listen(address: .localHost)
      #expect(server.isListening)
      server.close()
    }
  }

  @Test("A port that was just closed is listened on again", arguments: Distribution.eachWay)
  func again(distribution: Distribution) async throws {
    try await onLoops(3) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      // One that only this test has: clients of others could have got the port meanwhile.
      let address = try #require(HostAddress("127.0.0.82"))
      try await server.listen(address: address)
      let port = server.serverPort
      for _ in 0..<20 {
        server.close()
        try await server.listen(address: address, port: port)
        #expect(server.serverPort == port)
      }
      server.close()
    }
  }

  @Test("What closes while a socket is made cancels that", arguments: ways)
  func closedWhileMade(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let closing = Locked<TCPServerGroup?>(nil)
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        server.socketPreparation = { _ in
          closing.withLock { $0 }?.close()
          return 0
        }
      }
      try await server.withServers { _, _ in }
      closing.withLock { $0 = server }
      await #expect(throws: SocketError.self) { try await server.listen(address: .localHost) }
      closing.withLock { $0 = nil }
      #expect(!server.isListening)
      try await server.listen(address: .localHost)
      #expect(server.isListening)
      server.close()
    }
  }
}
