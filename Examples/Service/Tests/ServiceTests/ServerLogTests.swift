// SPDX-License-Identifier: Apache-2.0

import Glibc
import InMemoryLogging
import Logging
import ProgramTesting
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

  @Test("A shutdown with a delay has a line when it is announced")
  func announced() async throws {
    let handler = InMemoryLogHandler()
    var configuration = logged(at: .info, by: handler)
    configuration.shutdownDelay = .milliseconds(100)
    try await whileRunning(configuration) { _, _ in }
    #expect(
      handler.entries.map(\.message) == [
        "A shutdown is announced: accepting goes on", "The shutdown begins", "The shutdown is done",
      ]
    )
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
      withExtendedLifetime(first) {}
    }
    let seconds = Int((ContinuousClock.now - began) / .seconds(1)) + 2
    let lines = handler.entries.filter { $0.level == .trace }
    #expect(lines.count <= 10 * seconds)
    #expect(lines.isEmpty != isTraced)
    #expect(lines.allSatisfy { $0.metadata["tcp.server.rejection.reason"] == "limit" })
    #expect(lines.allSatisfy { $0.metadata["network.peer.address"] == "127.0.0.1" })
  }

  @Test("An episode without descriptors has one line when it begins and one when it is over")
  func episode() async {
    await #expect(processExitsWith: .success) {
      let handler = InMemoryLogHandler()
      var configuration = logged(at: .info, by: handler)
      configuration.loops = 1
      // For the loop, 40 clients, and some of their connections beside the 32 that the server leaves to others.
      try lowerDescriptorLimit(toFurther: 80)
      try await whileRunning(configuration, handler: { _ = try await $0.readLine() }) { _, port in
        let clients = (0..<40).compactMap { _ in Connection(port: port) }
        #expect(clients.count == 40)
        try await until { handler.entries.first?.message == "Accepting connections fails: Out of resources" }
        clients.forEach { $0.endSending() }
        try await until { handler.entries.last?.message == "Accepting connections goes on again" }
      }
      let messages = handler.entries.map(\.message.description)
      #expect(
        messages == [
          "Accepting connections fails: Out of resources", "Accepting connections goes on again",
          "The shutdown begins", "The shutdown is done",
        ]
      )
      #expect(handler.entries[1].metadata["error.code"] == "4")
    }
  }
}

private func logged(at level: Logger.Level, by handler: InMemoryLogHandler) -> TCPServiceConfiguration {
  var logger = Logger(label: "test") { _ in handler }
  logger.logLevel = level
  var configuration = TCPServiceConfiguration.local
  configuration.monitors = [ServerLog(logger, server: "test", interval: .milliseconds(10))]
  return configuration
}

/// Of this process, below what the server leaves to others.
private func lowerDescriptorLimit(toFurther count: UInt) throws {
  let lowest = dup(0)
  close(lowest)
  var limit = rlimit()
  try #require(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
  limit.rlim_cur = UInt(lowest) + count
  try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
}
