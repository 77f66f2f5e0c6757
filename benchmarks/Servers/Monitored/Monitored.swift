// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import TCPServerKit
import TCPServerKitLogging
import TCPServerKitMetrics
import TCPServerKitTracing
import Tracing

/// The server of count-monitoring: greets each client and closes. `monitored storm` alone, with `--monitors` with a log and
/// metrics, with `--tracing` with spans where the program has no tracer, with `--tracer` where it has one. Its loop is the
/// main thread's, as valgrind cannot count a program whose main thread libdispatch has ended.
@main
enum Monitored {
  static func main() throws {
    try EventBaseGroup.run(loops: 1) { try await serve(on: $0) }
  }

  private static func serve(on loops: EventBaseGroup) async throws {
    let shutdown = GracefulShutdown()
    let server = TCPServerGroup(on: loops)
    try await server.listen(address: .localHost)
    print("port", server.serverPort)
    fflush(nil)
    let input = Task.detached {
      while getchar() >= 0 {}
      shutdown.begin()
    }
    var monitors: [any ServerMonitor] = []
    var handler = greet
    if CommandLine.arguments.contains("--tracer") { InstrumentationSystem.bootstrap(UnsampledTracer()) }
    if CommandLine.arguments.contains("--monitors") {
      let logger = Logger(label: "monitored") { StreamLogHandler.standardError(label: $0) }
      // What they do once in a while costs the time that the count takes, which differs from machine to machine.
      let never = Duration.seconds(86_400)
      monitors.append(ServerLog(logger, server: "monitored", interval: never))
      monitors.append(ServerMetrics(server: "monitored", interval: never, factory: PrometheusFactory()))
    }
    if CommandLine.arguments.contains("--tracing") || CommandLine.arguments.contains("--tracer") {
      handler = ConnectionTracing(server: "monitored").handler(greet)
    }
    try await server.withMonitors(monitors, shutdown: shutdown) { [handler] in
      try await server.serve(shutdown: shutdown, handler: handler)
    }
    await input.value
  }

  private static let greet: @Sendable (TCPSocket) async throws -> Void = { socket in
    try await socket.write("hello, stranger\n")
  }
}
