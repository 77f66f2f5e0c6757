// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import ProgramTesting
import ServiceLifecycle
import Synchronization
import TCPServerKit
import TCPServerKitService
import Testing

@Suite("A service among others", .blocking, .timeLimit(.minutes(5)))
struct ServiceGroupTests {
  /// What has ended, in its order.
  private final class Order: Sendable {
    private let names = Mutex<[String]>([])

    var ended: [String] { names.withLock { $0 } }
    func end(_ name: String) { names.withLock { $0.append(name) } }
  }

  /// Notes when another has ended.
  private struct Noted<Base: Service>: Service {
    let base: Base
    let name: String
    let order: Order

    func run() async throws {
      defer { order.end(name) }
      try await base.run()
    }
  }

  private struct Failure: Error {}

  /// Fails once it may.
  private struct Failing: Service {
    let mayFail: @Sendable () -> Bool

    func run() async throws {
      while !mayFail() { try await Task.sleep(for: .milliseconds(2)) }
      throw Failure()
    }
  }

  /// Has to write something down when all before it have ended: what a database client does, for instance.
  private struct Slow: Service {
    func run() async throws {
      try await gracefulShutdown()
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  @Test(
    "When one fails, a server drains under load without an error at a client, and what it needs ends after it"
  )
  func order() async throws {
    let order = Order()
    let answered = Atomic(0)
    var configuration = TCPServiceConfiguration.local
    configuration.shutdownDelay = delay
    let server = TCPService(configuration) { socket in
      while let line = try await socket.readLine() {
        // At work when the shutdown begins.
        try await Task.sleep(for: .milliseconds(5))
        try await socket.write(line)
        answered.add(1, ordering: .relaxed)
      }
    }
    let group = ServiceGroup(
      configuration: .init(
        services: [
          .init(service: Noted(base: Slow(), name: "slow", order: order)),
          .init(service: Noted(base: server, name: "server", order: order)),
          .init(
            service: Noted(
              base: Failing { answered.load(ordering: .relaxed) > 50 },
              name: "failing",
              order: order
            ),
            failureTerminationBehavior: .gracefullyShutdownGroup
          ),
        ],
        logger: .none
      )
    )
    let running = Task { try await group.run() }
    let port = try await server.waitUntilListening().port
    let results = await withTaskGroup(of: (connections: Int, errors: Int).self) { clients in
      for _ in 0..<4 {
        clients.addTask { load(port) { server.isReady } }
      }
      return await clients.reduce(into: (0, 0)) { $0 = ($0.0 + $1.connections, $0.1 + $1.errors) }
    }
    await #expect(throws: Failure.self) { try await running.value }
    #expect(order.ended == ["failing", "server", "slow"])
    #expect(results.0 > 20)
    #expect(results.1 == 0)
  }
}

/// How long the server accepts after it is no longer ready.
private let delay: Duration = .milliseconds(200)

/// Connects again and again as long as the service is ready, as through a load balancer.
private func load(_ port: UInt16, isReady: () -> Bool) -> (connections: Int, errors: Int) {
  var (connections, errors) = (0, 0)
  let line = Array("hello\n".utf8)
  while case let began = ContinuousClock.now, isReady() {
    connections += 1
    let client = Connection(port: port)
    var isAnswered = client != nil
    // What comes later than the delay lasts, because this thread was held up, need not be served.
    var isLate = ContinuousClock.now - began >= delay
    for _ in 0..<2 where isAnswered {
      isLate = ContinuousClock.now - began >= delay
      isAnswered = client?.send(line) == true && client?.receive(line.count) == line
    }
    if !isAnswered && !isLate { errors += 1 }
  }
  return (connections, errors)
}
