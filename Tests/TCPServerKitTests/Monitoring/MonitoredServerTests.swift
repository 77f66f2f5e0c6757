// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerKit

@Suite("Monitors of a server", .timeLimit(.minutes(5)))
struct MonitoredServerTests {
  @Test(
    "A monitor sees the counters of all loops, and the result at the end",
    arguments: Distribution.eachWay
  )
  func group(distribution: Distribution) async throws {
    try await onLoops(2) { loops in
      let server = TCPServerGroup(on: loops, distribution: distribution)
      let monitor = KeepingMonitor()
      try await server.listen(address: .localHost)
      let report = try await whileMonitored(server, monitor) {
        let monitored = try await monitor.started()
        #expect(monitored.serverPort == server.serverPort)
        #expect(monitored.serverAddress == .localHost)
        let clients = (0..<20).compactMap { _ in PlainClient(to: server) }
        for client in clients {
          client.send("x\n")
          #expect(client.receive(exactly: 2).count == 2)
        }
        let now = try await monitored.statistics { $0.acceptQueueLimit > 0 }
        #expect(now.accepted == 20 && now.live == 20 && now.acceptQueue == 0)
        #expect(monitored.result == nil)
        for client in clients { client.end() }
        try await until { monitored.connectionDurations.total == 20 }
      }
      #expect(report.served == 20)
      #expect(monitor.hasEnded.isSet)
      #expect(try monitor.result.withLock { $0 }?.get() == report)
    }
  }

  @Test("The queue of a listening socket that all loops share counts once, those of shards are added")
  func queues() async throws {
    try await onLoops(3) { loops in
      var limits: [UInt64] = []
      for distribution in Distribution.eachWay {
        let server = TCPServerGroup(on: loops, distribution: distribution) { $0.listenBacklogSize = 100 }
        try await server.listen(address: .localHost)
        let monitor = KeepingMonitor()
        try await whileMonitored(server, monitor) {
          let limit: UInt64 = if case .shards = distribution { 300 } else { 100 }
          let now = try await monitor.started().statistics { $0.acceptQueueLimit >= limit }
          limits.append(now.acceptQueueLimit)
        }
      }
      #expect(limits == [100, 100, 300])
    }
  }

  @Test("What serving throws is thrown, when the monitor has seen it")
  func failure() async throws {
    try await onLoops(1) { loops in
      let server = TCPServerGroup(on: loops)
      let monitor = KeepingMonitor()
      await #expect(throws: SocketError.operation) {
        try await server.withMonitors([monitor]) { try await server.serve { _ in } }
      }
      #expect(throws: SocketError.operation) { try monitor.result.withLock { $0 }?.get() }
    }
  }

  @Test("A monitor of a server that is cancelled ends after it")
  func cancelled() async throws {
    try await onLoops(1) { loops in
      let server = TCPServerGroup(on: loops)
      try await server.listen(address: .localHost)
      let monitor = KeepingMonitor()
      let serving = Task {
        try await server.withMonitors([monitor]) { try await server.serve { _ in } }
      }
      _ = try await monitor.started()
      serving.cancel()
      _ = try await serving.value
      #expect(monitor.result.withLock { $0 != nil })
      #expect(!server.isListening)
    }
  }

  @Test("A single server has monitors, too, and none without an event base")
  func single() async throws {
    await #expect(throws: SocketError.operation) {
      try await TCPServer(eventBase: nil).withMonitors([KeepingMonitor()]) { ServingReport() }
    }
    try await onLoops(1) { loops in
      let base = loops.eventBases[0]
      let server = await base.engine.run { TCPServer(eventBase: base) }
      #expect(await server.onLoop { $0.listen(address: .localHost) })
      let port = await server.onLoop { $0.serverPort }
      let monitor = KeepingMonitor()
      let shutdown = GracefulShutdown()
      let serving = Task {
        try await server.withMonitors([monitor], shutdown: shutdown) {
          try await server.serve(shutdown: shutdown) { try await $0.write("x") }
        }
      }
      let monitored = try await monitor.started()
      #expect(monitored.serverPort == port && monitored.shutdown === shutdown)
      let client = try #require(PlainClient(port: port))
      #expect(client.receive(exactly: 1) == [0x78])
      client.end()
      #expect(try await monitored.statistics { $0.accepted > 0 }.accepted == 1)
      shutdown.begin()
      #expect(try await serving.value.served == 1)
    }
  }

  @Test("A single server whose loop is stuck answers with what it said last")
  func stuck() async throws {
    try await onLoops(1) { loops in
      let base = loops.eventBases[0]
      let server = await base.engine.run { TCPServer(eventBase: base) }
      let monitored = try #require(MonitoredServer(server, nil))
      #expect(await monitored.statistics().accepted == 0)
      let blocking = try Blockade()
      base.execute { blocking.block() }
      #expect(await monitored.statistics().accepted == 0)
      blocking.open()
    }
  }
}

/// Serves an echo with a monitor while `body` runs beside it, and ends with a shutdown.
@discardableResult
private func whileMonitored(
  _ server: TCPServerGroup,
  _ monitor: KeepingMonitor,
  _ body: () async throws -> Void
) async throws -> ServingReport {
  let shutdown = GracefulShutdown()
  let serving = Task {
    try await server.withMonitors([monitor], shutdown: shutdown) {
      try await server.serve(shutdown: shutdown) { socket in
        while let line = try await socket.readLine() { try await socket.write(line) }
      }
    }
  }
  do { try await body() } catch {
    serving.cancel()
    throw error
  }
  shutdown.begin(timeout: .seconds(60))
  return try await serving.value
}
