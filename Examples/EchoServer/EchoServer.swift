// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

typealias ConnectionHandler = @Sendable (TCPSocket) async throws -> Void

/// Sends back what its clients send, or answers HTTP requests, on one loop or several.
@main
struct EchoServer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "EchoServer",
    abstract: "Sends back whatever a client sends; with --http it says hello instead."
  )

  private static let usualPort: UInt16 = 4243

  enum Style: String, ExpressibleByArgument, CaseIterable {
    case callback
    case async
  }

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "The port to listen on; 0 lets the system choose one. (default: \(usualPort))")
  var port: UInt16?

  @Option(help: "The path to listen at instead, or @ and an abstract name.")
  var path: String?

  @Option(
    help:
      "The path at which a process with this option takes the socket over from the one before, which ends then."
  )
  var restartPath: String?

  @Flag(help: "Have the service manager keep the socket for the next process.")
  var storeSocket = false

  @Option(help: "Whether a connection is served by its signals' handlers or by a task.")
  var style = Style.async

  @Option(help: "How many loops, each on a thread of its own, share the connections.")
  var loops = 1

  @OptionGroup var sources: SourceOptions

  @Option(help: "How many seconds connections may go on after a signal; a second signal ends them.")
  var grace = 3.0

  @Option(help: "How many seconds clients are accepted after a signal; a second signal ends them.")
  var drainDelay = 0.0

  @Option(help: "How many seconds idle connections may wait for their next request when the server ends.")
  var drainIdle = 0.0

  @OptionGroup var limit: ConnectionLimit

  @OptionGroup var deadlines: Deadlines

  @OptionGroup var policy: PolicyOptions

  @Flag(help: "Answer each HTTP/1.1 request with hello.")
  var http = false

  @Option(
    help:
      "The file to which SIGUSR1 appends what the server is doing, as text, and SIGUSR2 as JSON; - for the standard error."
  )
  var dump: String?

  @Flag(help: "Print what limits the server here, which comes first, and end.")
  var diagnose = false

  func validate() throws {
    guard (1...256).contains(loops) else {
      throw ValidationError("--loops takes a number from 1 to 256.")
    }
    guard port == nil || path == nil else {
      throw ValidationError("--path takes the place of --port: one of them.")
    }
    guard !sources.limitsSources || path == nil else {
      throw ValidationError(
        "--per-source and --source-rate go by addresses, which clients of --path do not have."
      )
    }
    guard restartPath == nil || path == nil else {
      throw ValidationError("--restart-path hands over a port, not a --path.")
    }
    guard (0...1_000_000).contains(grace) else {
      throw ValidationError("--grace takes a number of seconds from 0 to 1000000.")
    }
    guard (0...1_000_000).contains(drainDelay) else {
      throw ValidationError("--drain-delay takes a number of seconds from 0 to 1000000.")
    }
    guard (0...1_000_000).contains(drainIdle) else {
      throw ValidationError("--drain-idle takes a number of seconds from 0 to 1000000.")
    }
    guard !http || style == .async else {
      throw ValidationError("--http is there in the async style only.")
    }
  }

  func run() throws {
    let inherited = try InheritedSockets.fromEnvironment()
    // The main thread's loop takes the signals, and serves no client.
    let signals = try makeEventBase()
    let shutdown = GracefulShutdown(idleTime: .seconds(drainIdle))
    shutdown.beginOnSignals(
      SIGINT,
      SIGTERM,
      delay: .seconds(drainDelay),
      timeout: .seconds(grace),
      eventBase: signals
    )
    let restart = restartPath.map { HotRestart(at: $0, eventBase: signals) }
    let report = try signals.run { [self] in
      async let _ = printDelay(of: shutdown)
      return try await EventBaseGroup.withThreads(loops: loops) {
        try await serve(on: $0, inherited, restart, until: shutdown)
      }
    }
    guard let report else { return }
    printLine("Stopped; connections served: \(report.served).")
    if drainDelay > 0 { printLine("Accepted during the delay: \(report.acceptedWhileAnnounced).") }
    for peer in report.cancelledPeers { printLine("Cut off: \(peer).") }
  }

  /// Is cancelled when the server ends.
  private func printDelay(of shutdown: GracefulShutdown) async {
    await shutdown.waitUntilAnnounced()
    guard shutdown.isAnnounced, drainDelay > 0 else { return }
    printLine("Ends soon; clients are accepted for \(drainDelay) s more.")
  }

  /// - Returns: nil where it was not to serve any.
  private func serve(
    on loops: EventBaseGroup,
    _ inherited: InheritedSockets,
    _ restart: HotRestart?,
    until shutdown: GracefulShutdown
  ) async throws -> ServingReport? {
    let records = dump != nil
    var predecessor: Predecessor?
    if let restart { predecessor = try await Predecessor.takeOver(at: restart.path, into: inherited) }
    let server = TCPServerGroup(on: loops) { [sources] server in
      sources.apply(to: server)
      server.recordsConnectionAges = records
    }
    server.connectionPolicy = policy.policy(deadlines)
    do {
      if let path {
        try await server.listen(path: path)
      } else {
        let name = HotRestart.socketName
        let port = port ?? Self.usualPort
        try await server.listen(on: .inherited(name, from: inherited, orListen: address, port: port))
      }
    } catch {
      throw try await server.withAcceptor { StartFailure($0) }
    }
    inherited.closeRest()
    try await server.withAcceptor { [limit] in limit.apply(to: $0) }
    try await server.withServers { [limit] server, _ in limit.apply(to: server) }
    if diagnose {
      printLine("\(try await server.diagnose())")
      return nil
    }
    var dumps: SnapshotsOnSignals?
    if let dump { dumps = await SnapshotsOnSignals(of: [server], to: dump) }
    defer { dumps?.stop() }
    let protocolName = http ? "HTTP" : "Echo"
    let place = server.serverPath ?? "\(server.serverAddress), port \(server.serverPort)"
    printLine("\(protocolName) server is listening on \(place).")

    try predecessor?.ready()
    let notifier = ServiceNotifier()
    if storeSocket {
      try await server.withAcceptor { _ = notifier?.store($0.socketDescriptor, name: HotRestart.socketName) }
    }
    notifier?.ready()
    var watchdog: Task<Void, Never>?
    if let notifier, notifier.watchdogInterval != nil {
      watchdog = Task { await notifier.pingWatchdog(whileAnswering: loops) }
    }
    defer { watchdog?.cancel() }
    let handover = restart.map { restart in
      Task { await restart.handOver(server, shutdown, grace: .seconds(grace)) }
    }
    defer { handover?.cancel() }
    let report = try await server.serve(shutdown: shutdown, handler: handler(until: shutdown))
    handover?.cancel()
    try? await handover?.value?.drained(report)
    return report
  }

  private func handler(until shutdown: GracefulShutdown) -> ConnectionHandler {
    let deadlines = deadlines
    return switch (http, style) {
    case (true, _): { try await answerRequests($0, deadlines: deadlines, until: shutdown) }
    case (false, .async): { try await echo($0, deadlines: deadlines) }
    case (false, .callback): { await echoWithHandlers($0, deadlines: deadlines) }
    }
  }
}
