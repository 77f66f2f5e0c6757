// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

/// Passes connections on to servers behind it, and PROXY headers with them.
@main
struct Gateway: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Gateway",
    abstract:
      "Connects each client to one of several servers, behind and before proxies that send PROXY headers."
  )

  @Option(
    help:
      "Where clients connect: ADDRESS:PORT, * for all addresses, a path, or @ and an abstract name. More than one may be given.",
    transform: Place.toListen
  )
  var listen: [Place]

  @Option(
    help:
      "A server for the clients: HOST:PORT, a path, or @ and an abstract name. Several take turns, and clients of one that does not answer go to the next. A name is looked up for each client, on a thread of its own.",
    transform: Place.toConnect
  )
  var backend: [Place]

  @OptionGroup var headers: HeaderOptions

  @OptionGroup var limits: GatewayLimits

  @Option(help: "How many loops, each on a thread of its own, share the connections.")
  var loops = 1

  @Option(help: "How many seconds clients are accepted after a signal; a second signal ends them.")
  var drainDelay = 0.0

  @Option(help: "How many seconds connections may go on after that; a further signal ends them.")
  var grace = 3.0

  @Option(
    help:
      "The file to which SIGUSR1 appends what the gateway is doing, as text, and SIGUSR2 as JSON; - for the standard error."
  )
  var dump: String?

  func validate() throws {
    guard !listen.isEmpty else { throw ValidationError("At least one --listen is needed.") }
    guard !backend.isEmpty else { throw ValidationError("At least one --backend is needed.") }
    guard (1...256).contains(loops) else { throw ValidationError("--loops takes a number from 1 to 256.") }
    for (option, seconds) in [("--drain-delay", drainDelay), ("--grace", grace)] {
      guard (0...1_000_000).contains(seconds) else {
        throw ValidationError("\(option) takes a number of seconds from 0 to 1000000.")
      }
    }
    for place in listen {
      if let own = backend.first(where: { place.isReached(from: $0) }) {
        throw ValidationError(
          "--backend \(own) leads to --listen \(place): the gateway would connect to itself."
        )
      }
      try headers.validate(for: place)
      guard !limits.sources.limitsSources || !place.isPath || !headers.behindProxy.isEmpty else {
        throw ValidationError(
          "--per-source and --source-rate go by addresses, which clients of \(place) do not have without --behind-proxy."
        )
      }
    }
  }

  func run() throws {
    // The main thread's loop takes the signals, and serves no client.
    let signals = try makeEventBase()
    let shutdown = GracefulShutdown()
    shutdown.beginOnSignals(
      SIGINT,
      SIGTERM,
      delay: .seconds(drainDelay),
      timeout: .seconds(grace),
      eventBase: signals
    )
    let backends = Backends(backend, timeout: limits.connect, pause: limits.retry)
    let traffic = Traffic()
    let reports = try signals.run { [self] in
      async let _ = printDelay(of: shutdown)
      return try await EventBaseGroup.withThreads(loops: loops) {
        try await serve(on: $0, backends, traffic, until: shutdown)
      }
    }
    printLine(traffic.summary(of: reports))
    if drainDelay > 0 {
      printLine("Accepted during the delay: \(reports.reduce(0) { $0 + $1.acceptedWhileAnnounced }).")
    }
    for line in backends.lines { printLine(line) }
  }

  /// Is cancelled when the gateway ends.
  private func printDelay(of shutdown: GracefulShutdown) async {
    await shutdown.waitUntilAnnounced()
    guard shutdown.isAnnounced, drainDelay > 0 else { return }
    printLine("Ends soon; clients are accepted for \(drainDelay) s more.")
  }

  /// One server for each place, on the same loops.
  private func serve(
    on loops: EventBaseGroup,
    _ backends: Backends,
    _ traffic: Traffic,
    until shutdown: GracefulShutdown
  ) async throws -> [ServingReport] {
    let requirement = try headers.requirement()
    let servers = listen.map { _ in
      TCPServerGroup(on: loops) { [limits, dump] server in
        server.proxyHeaderRequirement = requirement
        limits.sources.apply(to: server)
        server.recordsConnectionAges = dump != nil
      }
    }
    for (server, place) in zip(servers, listen) {
      server.connectionPolicy = limits.policy
      do {
        try await server.listen(at: place)
      } catch {
        throw StartFailure("\(place): \(server.errorString)")
      }
      // A client has its connection and one to its backend, and until that is there a look-up of the name.
      let each = backend.contains(where: \.isName) ? 4 : 2
      let limitConnections = {
        @Sendable [limits, loops = self.loops, places = listen.count] (server: TCPServer) in
        limits.connections.apply(to: server, descriptorsEach: each, relayLoops: loops, servers: places)
      }
      try await server.withAcceptor { limitConnections($0) }
      try await server.withServers { server, _ in limitConnections(server) }
    }
    var dumps: SnapshotsOnSignals?
    if let dump { dumps = await SnapshotsOnSignals(of: servers, to: dump) }
    defer { dumps?.stop() }
    for server in servers { printLine("Gateway is listening on \(server.placeText).") }
    ServiceNotifier()?.ready()
    return try await withThrowingTaskGroup(of: ServingReport.self) { group in
      for server in servers {
        group.addTask { [headers, limits] in
          try await server.serve(shutdown: shutdown) { client in
            try await pass(client, to: backends, headers, limits, traffic)
          }
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
  }
}

/// Serves one client.
private func pass(
  _ client: TCPSocket,
  to backends: Backends,
  _ headers: HeaderOptions,
  _ limits: GatewayLimits,
  _ traffic: Traffic
) async throws {
  let upstream: TCPSocket
  do {
    upstream = try await backends.connect()
  } catch {
    // Not an orderly end: the client must not take it for an answer.
    client.abort()
    if let error = error as? SocketError, error != .socketResource { traffic.addUnserved() }
    throw error
  }
  do {
    if let header = headers.header(for: client), try !upstream.sendProxyHeader(header) {
      throw upstream.error
    }
  } catch {
    upstream.abort()
    client.abort()
    throw error
  }
  traffic.add(try await client.relay(with: upstream, idleTimeout: limits.idle))
}
