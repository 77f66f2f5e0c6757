// SPDX-License-Identifier: Apache-2.0

import Glibc
import InMemoryLogging
import Logging
import ProgramTesting
import ServiceLifecycle
import TCPServerKit
import TCPServerKitLogging
import TCPServerKitService
import Testing

@Suite("ServerLog", .blocking, .timeLimit(.minutes(5)))
struct ServerLogTests {
  @Test("A server that listens, drains and ends has four lines, each with name, address and port")
  func life() async throws {
    let handler = InMemoryLogHandler()
    let configuration = logged(at: .debug, by: handler)
    let port = try await whileRunning(configuration) { _, port in
      _ = try exchange(port: port)
      return port
    }
    let entries = handler.entries
    #expect(entries.map(\.message) == ["Listening", "The shutdown begins", "The shutdown is done"])
    #expect(entries.map(\.level) == [.debug, .info, .info])
    for entry in entries {
      #expect(entry.metadata["tcp.server.name"] == "test")
      #expect(entry.metadata["tcp.server.address"] == "127.0.0.1")
      #expect(entry.metadata["tcp.server.port"] == "\(port)")
    }
    #expect(entries.last?.metadata["tcp.server.report.served"] == "1")
    #expect(entries.last?.metadata["tcp.server.report.cancelled"] == "0")
  }

  @Test("A server at a path has that for its address")
  func path() async throws {
    let handler = InMemoryLogHandler()
    var logger = Logger(label: "test") { _ in handler }
    logger.logLevel = .debug
    let path = "@log/\(getpid())"
    try await EventBase.withThread { [logger] _ in
      let server = TCPServer()
      guard server.listen(path: path) else { throw server.serverError }
      let shutdown = GracefulShutdown()
      shutdown.begin()
      try await server.withMonitors([ServerLog(logger, server: "test")], shutdown: shutdown) {
        try await server.serve(shutdown: shutdown, handler: echo)
      }
    }
    #expect(handler.entries.first?.metadata["tcp.server.address"] == "\(path)")
  }

  @Test("A shutdown with a delay has a line when it is announced")
  func announced() async throws {
    let handler = InMemoryLogHandler()
    var configuration = logged(at: .info, by: handler)
    configuration.shutdownDelay = .seconds(3600)
    let service = TCPService(configuration, handler: echo)
    let group = ServiceGroup(services: [service], logger: .none)
    let running = Task { try await group.run() }
    try await service.waitUntilListening()
    await group.triggerGracefulShutdown()
    try await until { !handler.entries.isEmpty }
    running.cancel()
    _ = await running.result
    #expect(handler.entries.map(\.message) == ["A shutdown is announced: accepting goes on"])
  }

  @Test("A server that is cancelled ends with a line at debug, not at info")
  func cancelled() async throws {
    let handler = InMemoryLogHandler()
    let configuration = logged(at: .debug, by: handler)
    let service = TCPService(configuration, handler: echo)
    let running = Task { try await service.run() }
    _ = try await service.waitUntilListening()
    running.cancel()
    try await running.value
    #expect(handler.entries.map(\.message) == ["Listening", "The server has ended"])
    #expect(handler.entries.allSatisfy { $0.level == .debug })
  }

  @Test("Rejected clients have at most ten lines a second, and none without trace", arguments: [true, false])
  func rejections(isTraced: Bool) async throws {
    let handler = InMemoryLogHandler()
    var configuration = logged(at: isTraced ? .trace : .debug, by: handler)
    configuration.maxConnections = 1
    configuration.configure = { $0.excessConnectionPolicy = .close }
    let began = ContinuousClock.now
    try await whileRunning(configuration) { _, port in
      let first = try exchange(port: port)
      for _ in 0..<50 { #expect(Connection(port: port)?.isEnded() == true) }
      // The log may have begun after them.
      try await until {
        !isTraced
          || Connection(port: port)?.isEnded() == true && handler.entries.contains { $0.level == .trace }
      }
      withExtendedLifetime(first) {}
    }
    let seconds = Int((ContinuousClock.now - began) / .seconds(1)) + 2
    let lines = handler.entries.filter { $0.level == .trace }
    #expect(lines.count <= 10 * seconds)
    #expect(lines.isEmpty != isTraced)
    #expect(lines.allSatisfy { $0.metadata["tcp.server.rejection.reason"] == "limit" })
    #expect(lines.allSatisfy { $0.metadata["network.peer.address"] == "127.0.0.1" })
  }
}

private func logged(at level: Logger.Level, by handler: InMemoryLogHandler) -> TCPServiceConfiguration {
  var logger = Logger(label: "test") { _ in handler }
  logger.logLevel = level
  var configuration = TCPServiceConfiguration.local
  configuration.monitors = [ServerLog(logger, server: "test", interval: .milliseconds(10))]
  return configuration
}
