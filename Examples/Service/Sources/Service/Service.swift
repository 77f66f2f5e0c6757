// SPDX-License-Identifier: Apache-2.0

@preconcurrency import Glibc
import Logging
import Metrics
import ServiceLifecycle
import TCPServerKit
import TCPServerKitLogging
import TCPServerKitMetrics
import TCPServerKitService
import TCPServerKitTracing

/// An echo server as a service is run: with a log, metrics for Prometheus, spans, an operator's port and an end in order.
@main
enum Service {
  static func main() async {
    do {
      try await run()
    } catch {
      fputs("Error: \(error)\n", stderr)
      exit(1)
    }
  }

  private static func run() async throws {
    let settings = try Settings(environment: environment)
    let logger = makeLogger(settings)
    let metrics = PrometheusFactory()
    MetricsSystem.bootstrap(metrics)

    var configuration = TCPServiceConfiguration(
      address: settings.address,
      port: settings.port,
      maxConnections: settings.maxConnections
    )
    configuration.loops = settings.loops
    configuration.shutdownDelay = settings.shutdownDelay
    configuration.shutdownTimeout = settings.shutdownTimeout
    configuration.monitors = [
      ServerLog(logger, server: "echo"),
      ServerMetrics(server: "echo", interval: settings.metricsInterval),
    ]
    configuration.configure = { server in
      if settings.reportsRejections { server.excessConnectionPolicy = .close }
    }
    let tracing = ConnectionTracing(server: "echo")
    let echo = TCPService(configuration, handler: tracing.handler(serveEcho))

    var operating = TCPServiceConfiguration(address: .localHost, port: settings.operationsPort)
    operating.loops = 1
    // The echo server leaves 32 descriptors to others, of which these are some: what is wrong can be seen then, too.
    operating.configure = { $0.descriptorReserve = 8 }
    let operations = TCPService(operating) { socket in
      try await serveOperations(socket, metrics, of: echo)
    }

    // The group ends its services from the last to the first: the metrics of a server that ends can still be read.
    let group = ServiceGroup(
      services: [operations, echo],
      gracefulShutdownSignals: [.sigterm, .sigint],
      logger: logger
    )
    try await withThrowingTaskGroup { tasks in
      tasks.addTask { try await group.run() }
      let (service, operationsPlace) = try await (echo.waitUntilListening(), operations.waitUntilListening())
      print("Echo on port \(service.port), operations on port \(operationsPlace.port).")
      fflush(nil)
      try await tasks.waitForAll()
    }
  }

  private static func makeLogger(_ settings: Settings) -> Logger {
    LoggingSystem.bootstrap(StreamLogHandler.standardError)
    var logger = Logger(label: "service")
    logger.logLevel = settings.logLevel
    return logger
  }

  private static var environment: [String: String] {
    var values: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
      let parts = String(cString: text).split(separator: "=", maxSplits: 1).map(String.init)
      if parts.count == 2 { values[parts[0]] = parts[1] }
      entry += 1
    }
    return values
  }
}

/// Sends each line back.
@Sendable func serveEcho(_ socket: TCPSocket) async throws {
  while try await socket.waitForMessage(timeout: .seconds(60)),
    let line = try await socket.readLine(timeout: .seconds(10))
  {
    try await socket.write(line, timeout: .seconds(10))
  }
}
