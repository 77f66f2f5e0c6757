// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import TCPServerKit
import TCPServerKitLogging
import TCPServerKitMetrics
import TCPServerKitService
import TCPServerKitTracing

/// The server of count-monitoring: greets each client and closes. `monitored storm` alone, `monitored storm --all` with a
/// log, metrics, and a tracer that records nothing.
@main
enum Monitored {
  static func main() async throws {
    var configuration = TCPServiceConfiguration(address: .localHost, port: 0)
    configuration.loops = 1
    var handler: @Sendable (TCPSocket) async throws -> Void = { try await $0.write("hello, stranger\n") }
    if CommandLine.arguments.contains("--all") {
      let metrics = PrometheusFactory()
      let logger = Logger(label: "monitored") { StreamLogHandler.standardError(label: $0) }
      configuration.monitors = [
        ServerLog(logger, server: "monitored"),
        ServerMetrics(server: "monitored", factory: metrics),
      ]
      handler = ConnectionTracing(server: "monitored").handler(handler)
    }
    let service = TCPService(configuration, handler: handler)
    let running = Task { try await service.run() }
    print("port", try await service.waitUntilListening().port)
    fflush(nil)
    let input = Task.detached { while getchar() >= 0 {} }
    await input.value
    running.cancel()
    try await running.value
  }
}
