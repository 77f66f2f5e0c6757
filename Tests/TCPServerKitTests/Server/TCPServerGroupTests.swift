// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import Testing

@testable import TCPServerKit

@Suite("One server on several loops", .timeLimit(.minutes(5)))
struct TCPServerGroupTests {
  @Test("Handlers run on all loops, each connection on one, and the report is the sum")
  func serves() async throws {
    try await onLoops(3) { group in
      let server = TCPServerGroup(on: group, stallLimit: nil)
      let ports = Locked<[[UInt16]]>([[], [], []])
      let report = try await whileServing(server) { socket in
        let loop = group.eventBases.firstIndex { $0 === EventBase.current }
        let port = socket.peerPort
        if let loop { ports.withLock { $0[loop].append(port) } }
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: {
        let clients = (0..<30).compactMap { _ in PlainClient(to: server) }
        for client in clients { client.send("ping\n") }
        for client in clients { #expect(client.receive(exactly: 5) == Array("ping\n".utf8)) }
        #expect(server.statistics.live == 30)
        #expect(server.statisticsByLoop.map(\.live) == [10, 10, 10])
        #expect(Set(ports.withLock { $0.joined() }) == Set(clients.map(\.port)))
        #expect(ports.withLock { $0.map(\.count) } == [10, 10, 10])
      }
      #expect(report.served == 30)
      #expect(server.statistics.accepted == 30)
      #expect(!server.isListening)
      #expect(server.serverPort == 0 && server.serverAddress.isNull)
    }
  }

  @Test("The loop that accepts may have a thread of its own")
  func acceptsElsewhere() async throws {
    try await onLoops(2, accepting: .ownThread) { group in
      #expect(!group.eventBases.contains { $0 === group.acceptingEventBase })
      let server = TCPServerGroup(on: group, stallLimit: nil)
      try await whileServing(server) { socket in
        #expect(EventBase.current !== group.acceptingEventBase)
        try await socket.write("x")
        while try await socket.readLine() != nil {}
      } _: {
        let clients = (0..<4).compactMap { _ in PlainClient(to: server) }
        #expect(clients.allSatisfy { $0.receive(exactly: 1) == [0x78] })
        #expect(server.statisticsByLoop.map(\.live) == [2, 2])
      }
    }
  }

  @Test(
    "A loop whose thread is blocked gets no connection that another loop could serve",
    arguments: [AcceptingLoop.first, .ownThread]
  )
  func blockedLoop(accepting: AcceptingLoop) async throws {
    try await onLoops(2, accepting: accepting) { group in
      let server = TCPServerGroup(on: group)
      let blocking = try Blockade()
      let isBlocked = Flag()
      try await whileServing(server) { socket in
        guard EventBase.current === group.eventBases[0] else {
          if !isBlocked.isSet {
            isBlocked.set()
            blocking.block()
          }
          return
        }
        try await socket.write("x")
        while try await socket.readLine() != nil {}
      } _: {
        defer { blocking.open() }
        var clients: [PlainClient] = []
        // More than two where the machine is so busy that a loop is late without being blocked.
        while !isBlocked.isSet {
          clients.append(try #require(PlainClient(to: server)))
          await turns(1000)
          try Task.checkCancellation()
        }
        // Some are placed on the loop that is blocked, which has fewer, and all are served by the other.
        for _ in 0..<10 {
          let client = try #require(PlainClient(to: server))
          #expect(client.receive(exactly: 1) == [0x78])
          clients.append(client)
        }
        #expect(server.statistics.takenBack > 0)
      }
    }
  }

  @Test("The limit is that of all loops together, and ends with the call", arguments: Distribution.eachWay)
  func limit(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      let gate = Gate()
      let most = Atomic(0)
      let now = Atomic(0)
      let report = try await whileServing(server, maxConnections: 3) { socket in
        let count = now.add(1, ordering: .relaxed).newValue
        most.max(count, ordering: .relaxed)
        await gate.pass()
        _ = try await socket.readLine()
        now.subtract(1, ordering: .relaxed)
      } _: {
        // Some are accepted before there is a limit of connections.
        let clients = (0..<20).compactMap { _ in PlainClient(to: server) }
        try await until { now.load(ordering: .relaxed) == 3 }
        gate.open()
        for client in clients {
          client.send("line\n")
          client.endWriting()
        }
        for client in clients { #expect(client.nextInput() == .end) }
      }
      #expect(most.load(ordering: .relaxed) == 3)
      #expect(report.served == 20)
      #expect(try await server.withAcceptor { $0.maxConnections } == nil)
    }
  }

  @Test("A limit of less than 1 is one of 1", arguments: [0, -1], Distribution.eachWay)
  func leastLimit(limit: Int, distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      let most = Atomic(0)
      let now = Atomic(0)
      let report = try await whileServing(server, maxConnections: limit) { socket in
        most.max(now.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
        try await socket.write(socket.readLine() ?? [])
        now.subtract(1, ordering: .relaxed)
      } _: {
        let clients = (0..<4).compactMap { _ in PlainClient(to: server) }
        for client in clients {
          client.send("line\n")
          client.endWriting()
        }
        for client in clients { #expect(client.nextInput() == .bytes(Array("line\n".utf8))) }
      }
      #expect(most.load(ordering: .relaxed) == 1)
      #expect(report.served == 4)
    }
  }

  @Test("What a shutdown finds is served, also what the kernel holds", arguments: Distribution.eachWay)
  func shutdown(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      try await server.listen(address: .localHost)
      let clients = (0..<40).compactMap { _ in PlainClient(to: server) }
      for client in clients { client.send("line\n") }
      let shutdown = GracefulShutdown()
      shutdown.begin(timeout: .seconds(60))
      let report = try await server.serve(shutdown: shutdown) { socket in
        #expect(GracefulShutdown.current === shutdown)
        if let line = try await socket.readLine() { try await socket.write(line) }
      }
      #expect(report.served == 40)
      #expect(clients.allSatisfy { $0.receive(exactly: 5).count == 5 && $0.nextInput() == .end })
      expectBalanced(server)
    }
  }

  @Test("A cancelled task cancels the handlers of all loops", arguments: Distribution.eachWay)
  func cancellation(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      try await server.listen(address: .localHost)
      let running = Counter()
      let serving = Task {
        try await server.serve { socket in
          running.increment()
          while try await socket.readLine() != nil {}
        }
      }
      let clients = (0..<4).compactMap { _ in PlainClient(to: server) }
      try await until { running.value == 4 }
      serving.cancel()
      #expect(try await serving.value.cancelled == 4)
      #expect(clients.allSatisfy { $0.nextInput() != .nothing })
      #expect(!server.isListening)
      expectBalanced(server)
    }
  }

  @Test("Each loop's server is configured on its loop; what concerns all goes to the one that accepts")
  func configuration() async throws {
    try await onLoops(2) { group in
      let seen = Counter()
      let server = TCPServerGroup(on: group, distribution: .roundRobin, stallLimit: nil) { server in
        #expect(server.eventBase === EventBase.current)
        seen.increment()
        server.maxConnections = 7
        server.excessConnectionPolicy = .close
        server.maxPendingConnections = 9
        server.listenBacklogSize = 11
        server.setSocketOption(.keepAlive, 1)
        server.descriptorReserve = 13
        server.admissionHandler = { _, _ in .close }
      }
      #expect(server.statistics.accepted == 0 && server.statisticsByLoop.isEmpty)
      try await server.listen(address: .localHost)
      #expect(seen.value == 2)
      let found = try await server.withAcceptor { acceptor in
        [
          acceptor.maxConnections ?? 0, acceptor.maxPendingConnections, acceptor.listenBacklogSize,
          acceptor.socketOption(.keepAlive) ?? 0, acceptor.descriptorReserve,
          acceptor.excessConnectionPolicy == .close ? 1 : 0,
        ]
      }
      #expect(found == [7, 9, 11, 1, 13, 1])
      // Admission is the loops' own.
      let clients = (0..<4).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.rejectedByAdmission == 4 }
      #expect(server.statisticsByLoop.map(\.rejectedByAdmission) == [2, 2])
      #expect(clients.allSatisfy { $0.nextInput() != .nothing })
      try await until { server.statistics.live == 0 }
      server.close()
      try await until { !server.isListening }
      expectBalanced(server)
    }
  }

  @Test(
    "The servers of the loops emit signals, and closing one closes the group",
    arguments: Distribution.eachWay
  )
  func signals(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let greeted = Counter()
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        server.newConnection.connect { [unowned server] in
          guard let socket = server.nextPendingConnection() else { return }
          greeted.increment()
          socket.write("x")
          socket.disconnectFromHost()
        }
      }
      try await server.listen(address: .localHost)
      let clients = (0..<6).compactMap { _ in PlainClient(to: server) }
      #expect(clients.allSatisfy { $0.receive(exactly: 1) == [0x78] && $0.nextInput() == .end })
      #expect(greeted.value == 6)
      let port = server.serverPort
      let places = Locked<[Int]>([])
      try await server.withServers { member, index in
        #expect(member.isListening && member.serverPort == port && member.serverAddress == .localHost)
        #expect(!member.listen() && !member.setSocketDescriptor(-1))
        #expect(member.serverError == .operation)
        #expect(member.errorString == "A member of a group gets its connections from the server that accepts")
        places.withLock { $0.append(index) }
      }
      #expect(places.withLock { $0 } == [0, 1])
      try await server.withServers { member, index in
        if index == 1 { member.close() }
      }
      try await until { !server.isListening }
      try await server.withServers { member, _ in #expect(!member.isListening) }
    }
  }

  private final class Telling: TCPServer, @unchecked Sendable {
    let taken = Counter()

    override func incomingConnection(_ socketDescriptor: CInt) {
      taken.increment()
      super.incomingConnection(socketDescriptor)
    }
  }

  @Test("A subclass receives the connections of its loop", arguments: Distribution.eachWay)
  func subclass(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let made = Locked<[Telling]>([])
      let server = TCPServerGroup(on: group, distribution: distribution) { eventBase in
        let server = Telling(eventBase: eventBase)
        made.withLock { $0.append(server) }
        return server
      }
      try await whileServing(server) { socket in
        try await socket.write("x")
      } _: {
        for _ in 0..<4 {
          let client = try #require(PlainClient(to: server))
          #expect(client.receive(exactly: 1) == [0x78])
        }
      }
      #expect(made.withLock { $0.map(\.taken.value).reduce(0, +) } == 4)
    }
  }

  @Test("The program chooses the loop, by the client")
  func custom() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(
        on: group,
        distribution: .custom { address, port in
          #expect(address == .localHost && port != 0)
          return 1
        }
      )
      try await whileServing(server) { socket in
        try await socket.write("x")
        while try await socket.readLine() != nil {}
      } _: {
        let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
        #expect(clients.allSatisfy { $0.receive(exactly: 1) == [0x78] })
        #expect(server.statisticsByLoop.map(\.live) == [0, 3])
      }
    }
  }

  @Test("A listening socket that was made elsewhere is adopted; a bad one is refused and stays the caller's")
  func adopts() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: .byPeer)
      await #expect(throws: SocketError.self) { try await server.setSocketDescriptor(-1) }
      try await server.setSocketDescriptor(Descriptors.listening())
      await #expect(throws: SocketError.operation) { try await server.listen() }
      #expect(server.serverPort != 0)
      try await whileServing(server) { socket in
        try await socket.write("x")
      } _: {
        let client = try #require(PlainClient(to: server))
        #expect(client.receive(exactly: 1) == [0x78])
      }
    }
  }

  @Test("What cannot listen says why, and can be tried again", arguments: Distribution.eachWay)
  func failures(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      await #expect(throws: SocketError.operation) { try await server.serve { _ in } }
      let taken = try listening()
      await #expect(throws: SocketError.addressInUse) {
        try await server.listen(address: .localHost, port: taken.serverPort)
      }
      #expect(server.errorString == "The bound address is already in use")
      #expect(try await server.withAcceptor { $0.errorString } == server.errorString)
      await #expect(throws: SocketError.operation) { try await server.serve { _ in } }
      #expect(server.errorString == "serve() called on a server that does not listen")
      try await server.listen(address: .localHost)
      #expect(server.isListening)
      await #expect(throws: SocketError.operation) { try await server.listen() }
      #expect(server.errorString == "listen() called when already listening")
      let descriptor = Descriptors.listening()
      defer { close(descriptor) }
      await #expect(throws: SocketError.operation) {
        try await server.setSocketDescriptors(
          [CInt](repeating: descriptor, count: distribution.core == nil ? 2 : 1)
        )
      }
      #expect(server.errorString == "setSocketDescriptor() called when already listening")
      server.close()
      try await until { !server.isListening }
      await #expect(throws: SocketError.operation) { try await server.serve { _ in } }
      #expect(server.errorString == "serve() called on a server that does not listen")

      let wrong = TCPServerGroup(on: group, distribution: distribution) { _ in TCPServer(eventBase: nil) }
      #expect(wrong.errorString == "")
      await #expect(throws: SocketError.operation) { try await wrong.serve { _ in } }
      #expect(wrong.errorString == "serve() called on a server that does not listen")
      await #expect(throws: SocketError.operation) { try await wrong.listen() }
      #expect(wrong.errorString == "A server of a group lives on the event base that it is made for")
    }
  }

  @Test("While one call makes its servers, others are refused")
  func preparing() async throws {
    try await onLoops(2) { group in
      let (gate, isMaking) = (try Blockade(), Flag())
      let server = TCPServerGroup(
        on: group,
        configure: { _ in
          isMaking.set()
          gate.block()
        }
      )
      async let listening: Void = server.listen(address: .localHost)
      try await until { isMaking.isSet }
      await #expect(throws: SocketError.operation) { try await server.withServers { _, _ in } }
      #expect(server.errorString == "The group begins to listen in another task")
      gate.open()
      try await listening
      server.close()
    }
  }

  @Test(
    "Where the listening socket breaks, every loop learns of it and serving ends with the error",
    arguments: Distribution.eachWay
  )
  func brokenListener(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let announced = Counter()
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        server.acceptError.connect { _ in announced.increment() }
      }
      try await server.listen(address: .localHost)
      let serving = Task { try await server.serve { _ in } }
      try await server.withAcceptor { acceptor in
        _ = Glibc.shutdown(acceptor.socketDescriptor, CInt(SHUT_RDWR))
      }
      // Where each has a socket, one is enough.
      try await server.withServers { member, index in
        if index == 1 { _ = Glibc.shutdown(member.socketDescriptor, CInt(SHUT_RDWR)) }
      }
      await #expect(throws: SocketError.self) { try await serving.value }
      try await until { announced.value == 2 }
      #expect(!server.isListening)
    }
  }

  @Test("A loop that hears of the beginning after the end has ended", arguments: Distribution.eachWay)
  func lateBeginning(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      try await server.listen(address: .localHost)
      server.close()
      try await until { !server.isListening }
      try await server.withServers { member, _ in
        member.closeHere()
        member.memberBegins()
        #expect(member.hasEnded)
      }
    }
  }

  @Test("A group that is released closes; its loops go on", arguments: Distribution.eachWay)
  func release(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let port: UInt16
      do {
        let server = TCPServerGroup(on: group, distribution: distribution)
        try await server.listen(address: try #require(HostAddress("127.0.0.78")))
        port = server.serverPort
      }
      try await until { PlainClient("127.0.0.78", port: port) == nil }
      let again = TCPServerGroup(on: group, distribution: distribution)
      try await whileServing(again) {
        try await $0.write("x")
      } _: {
        let client = try #require(PlainClient(to: again))
        #expect(client.receive(exactly: 1) == [0x78])
      }
    }
  }

  @Test("A group's diagnosis is that of the server that accepts, for all its loops")
  func diagnosis() async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group) { server in
        server.maxConnections = 9
        server.maxPendingConnections = 4
      }
      try await server.listen(address: .localHost)
      let diagnosis = try await server.diagnose()
      #expect(diagnosis.lines.contains("connections: 0 of maxConnections, 9"))
      #expect(diagnosis.lines.contains("pending: 0 of maxPendingConnections, 4"))
      #expect(diagnosis.lines.last?.contains("; 2 loops") == true)
      #expect(diagnosis.firstLimit.hasPrefix("maxConnections, after 9 more connections; "))
      #expect(!diagnosis.lines.contains { $0.hasPrefix("shards: ") })
      server.close()
      let shards = TCPServerGroup(on: group, distribution: .shards)
      try await shards.listen(address: .localHost)
      #expect(try await shards.diagnose().lines.contains { $0.hasPrefix("shards: ") })
      shards.close()
    }
  }

  @Test(
    "After a shutdown, with connections on its loops, a group serves as at first",
    arguments: Distribution.eachWay
  )
  func servesAgain(distribution: Distribution) async throws {
    try await onLoops(2) { group in
      let server = TCPServerGroup(on: group, distribution: distribution)
      for _ in 0..<2 {
        let clients = Locked<[LoopBound<PlainClient>]>([])
        try await whileServing(server) { socket in
          while try await socket.waitForMessage(), let line = try await socket.readLine() {
            try await socket.write(line)
          }
        } _: {
          for _ in 0..<8 {
            let client = try #require(PlainClient(to: server))
            for _ in 0..<2 {
              client.send("ping\n")
              #expect(client.receive(exactly: 5) == Array("ping\n".utf8))
            }
            clients.withLock { $0.append(LoopBound(client)) }
          }
        }
      }
    }
  }
}
