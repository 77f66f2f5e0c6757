// SPDX-License-Identifier: Apache-2.0

import Logging
import ProgramTesting
import ServiceLifecycle
import TCPServerKit
import TCPServerKitService
import Testing

/// Runs a service in a group of its own while `body` runs beside it, and shuts it down in order.
func whileRunning<Result>(
  _ configuration: TCPServiceConfiguration,
  handler: @escaping @Sendable (TCPSocket) async throws -> Void = echo,
  _ body: (TCPService, UInt16) async throws -> Result
) async throws -> Result {
  let service = TCPService(configuration, handler: handler)
  let group = ServiceGroup(
    services: [service],
    logger: .none
  )
  let running = Task { try await group.run() }
  do {
    let result = try await body(service, service.waitUntilListening().port)
    await group.triggerGracefulShutdown()
    try await running.value
    return result
  } catch {
    running.cancel()
    throw error
  }
}

extension Logger {
  /// Writes nothing.
  static var none: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}

extension TCPServiceConfiguration {
  /// On a port of the system's choice, with two loops.
  static var local: TCPServiceConfiguration {
    var configuration = TCPServiceConfiguration(address: .localHost, port: 0)
    configuration.loops = 2
    return configuration
  }
}

@Sendable func echo(_ socket: TCPSocket) async throws {
  while let line = try await socket.readLine() { try await socket.write(line) }
}

/// Connects, has a line sent back, and keeps the connection.
func exchange(port: UInt16) throws -> Connection {
  let client = try #require(Connection(port: port))
  #expect(client.send(Array("ping\n".utf8)))
  #expect(client.receive(5) == Array("ping\n".utf8))
  return client
}

/// Looks again and again, within a minute.
func until(_ condition: () -> Bool) async throws {
  let deadline = ContinuousClock.now + .seconds(60)
  while !condition() {
    try #require(ContinuousClock.now < deadline)
    try await Task.sleep(for: .milliseconds(2))
  }
}
