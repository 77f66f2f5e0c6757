// SPDX-License-Identifier: Apache-2.0

import Glibc
import Metrics
import MetricsTestKit
import ProgramTesting
import TCPServerKit
import TCPServerKitMetrics
import TCPServerKitService
import Testing

@Suite("ServerMetrics", .blocking, .timeLimit(.minutes(5)))
struct ServerMetricsTests {
  private static let server = ("server", "test")

  @Test("Counters and durations equal what the clients have seen")
  func counters() async throws {
    let metrics = TestMetrics()
    let most = 100
    var configuration = TCPServiceConfiguration.local
    configuration.monitors = [ServerMetrics(server: "test", interval: .milliseconds(20), factory: metrics)]
    try await whileRunning(configuration) { _, port in
      let kept = try (0..<10).map { _ in try exchange(port: port) }
      for _ in kept.count..<most { _ = try exchange(port: port) }
      try await until {
        (try? metrics.expectMeter("tcp.server.connections.active", [Self.server]).lastValue)
          == Double(kept.count)
      }
    }
    let server = [Self.server]
    #expect(metrics.counterTotal(label: "tcp.server.connections.accepted") == Int64(most))
    #expect(metrics.counterTotal(label: "tcp.server.connections.rejected") == 0)
    let delivered = try metrics.expectTimer(
      "tcp.server.connection.duration",
      [Self.server, ("outcome", "delivered")]
    )
    #expect(delivered.values.count == most)
    #expect(delivered.values.allSatisfy { $0 > 0 && $0 < 300_000_000_000 })
    #expect(try metrics.expectMeter("tcp.server.connections.active", server).lastValue == 0)
    #expect(try metrics.expectMeter("tcp.server.connections.pending", server).lastValue == 0)
    #expect(try metrics.expectMeter("tcp.server.draining", server).values.last == 1)
    #expect(try metrics.expectMeter("tcp.server.draining", server).values.first == 0)
    #expect(try metrics.expectMeter("tcp.server.descriptors.headroom").lastValue ?? 0 > 0)
    #expect(try metrics.expectMeter("tcp.server.kernel_queue.limit", server).values.first ?? 0 > 0)
  }

  @Test("Each loop has its lag and its load")
  func loops() async throws {
    let metrics = TestMetrics()
    var configuration = TCPServiceConfiguration.local
    configuration.monitors = [ServerMetrics(server: "test", interval: .milliseconds(20), factory: metrics)]
    try await whileRunning(configuration) { _, _ in
      for loop in ["0", "1"] {
        let dimensions = [Self.server, ("loop", loop)]
        let lag = { (try? metrics.expectRecorder("tcp.server.loop.lag", dimensions).values) ?? [] }
        let busy = { (try? metrics.expectMeter("tcp.server.loop.busy", dimensions).values) ?? [] }
        try await until { lag().count >= 2 && !busy().isEmpty }
        #expect(lag().allSatisfy { $0 >= 0 })
        #expect(busy().allSatisfy { (0...1).contains($0) })
      }
    }
  }

  @Test("Rejected clients have their reason, and time that accepting paused is counted")
  func rejections() async throws {
    let metrics = TestMetrics()
    var configuration = TCPServiceConfiguration.local
    configuration.monitors = [ServerMetrics(server: "test", interval: .milliseconds(20), factory: metrics)]
    configuration.maxConnections = 1
    configuration.configure = { $0.excessConnectionPolicy = .close }
    try await whileRunning(configuration) { _, port in
      let first = try exchange(port: port)
      for _ in 0..<3 { #expect(Connection(port: port)?.isEnded() == true) }
      withExtendedLifetime(first) {}
    }
    let rejected = "tcp.server.connections.rejected"
    #expect(metrics.counterTotal(label: rejected, dimensions: [Self.server, ("reason", "limit")]) == 3)
    #expect(metrics.counterTotal(label: rejected) == 3)
    #expect(metrics.counterTotal(label: "tcp.server.connections.accepted") == 4)
  }

  @Test("Connections whose PROXY header is awaited have a meter, and those with a wrong one a reason")
  func proxyHeaders() async throws {
    let metrics = TestMetrics()
    var configuration = TCPServiceConfiguration.local
    configuration.monitors = [ServerMetrics(server: "test", interval: .milliseconds(20), factory: metrics)]
    let requirement = try ProxyHeaderRequirement(from: ["127.0.0.0/8"], timeout: .seconds(3600))
    configuration.configure = { $0.proxyHeaderRequirement = requirement }
    try await whileRunning(configuration) { _, port in
      let wrong = try #require(Connection(port: port))
      wrong.send(Array("GET / HTTP/1.1\r\n\r\n".utf8))
      #expect(wrong.isEnded())
      let silent = try #require(Connection(port: port))
      try await until {
        (try? metrics.expectMeter("tcp.server.connections.in_preface", [Self.server]).lastValue) == 1
      }
      silent.endSending()
      #expect(silent.isEnded())
    }
    let rejected = "tcp.server.connections.rejected"
    #expect(
      metrics.counterTotal(label: rejected, dimensions: [Self.server, ("reason", "proxy_header")]) == 1
    )
    #expect(metrics.counterTotal(label: rejected) == 1)
    #expect(metrics.counterTotal(label: "tcp.server.connections.accepted") == 2)
  }

  @Test("The factory of the task is the one that is used")
  func taskLocalFactory() async throws {
    let metrics = TestMetrics()
    var configuration = TCPServiceConfiguration.local
    configuration.monitors = withMetricsFactory(metrics) { [ServerMetrics(server: "test")] }
    try await whileRunning(configuration) { _, port in _ = try exchange(port: port) }
    #expect(metrics.counterTotal(label: "tcp.server.connections.accepted") == 1)
  }

  @Test("A server that is monitored again reports what has come since")
  func again() async throws {
    let metrics = TestMetrics()
    try await EventBase.withThread { _ in
      let server = TCPServer()
      let monitor = ServerMetrics(server: "test", interval: .milliseconds(20), factory: metrics)
      for round in 1...3 {
        guard server.listen(address: .localHost) else { throw server.serverError }
        let port = server.serverPort
        let shutdown = GracefulShutdown()
        try await server.withMonitors([monitor], shutdown: shutdown) {
          async let report = server.serve(shutdown: shutdown, handler: echo)
          try await Task.detached { _ = try exchange(port: port) }.value
          shutdown.begin()
          return try await report
        }
        #expect(metrics.counterTotal(label: "tcp.server.connections.accepted") == Int64(round))
      }
    }
  }
}
