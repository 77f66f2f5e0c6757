// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import Synchronization
import TCPServerKit

/// Passes on what its clients send to another server, and what that answers.
@main
struct Relay: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Relay",
    abstract: "Connects each client to another server, and passes on what both send."
  )

  @Argument(help: "The port to listen on; 0 lets the system choose one.")
  var listenPort: UInt16

  @Argument(help: "The host that clients are connected to: a name or an address.")
  var host: String

  @Argument(help: "The port of that host.")
  var port: UInt16

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(name: .customLong("connect"), help: "How many seconds the host may take to accept a connection.")
  var connectSeconds = 10.0

  @Option(name: .customLong("idle"), help: "How many seconds neither side may send or take a byte.")
  var idleSeconds = 300.0

  @Option(help: "How many seconds connections may go on after a signal; a second signal ends them.")
  var grace = 3.0

  @OptionGroup var limit: ConnectionLimit

  func validate() throws {
    for (option, seconds) in [("--connect", connectSeconds), ("--idle", idleSeconds)] {
      guard seconds > 0, seconds <= 1_000_000 else {
        throw ValidationError("\(option) takes a number of seconds, more than 0 and at most 1000000.")
      }
    }
    guard (0...1_000_000).contains(grace) else {
      throw ValidationError("--grace takes a number of seconds from 0 to 1000000.")
    }
    guard port > 0 else {
      throw ValidationError("The port of the host is a number from 1 to 65535.")
    }
    guard listenPort != port || !leadsBack(host, to: address) else {
      throw ValidationError("\(host), port \(port), leads to the relay itself.")
    }
  }

  func run() throws {
    let loop = try makeEventBase()
    let shutdown = GracefulShutdown()
    shutdown.beginOnSignals(SIGINT, SIGTERM, timeout: .seconds(grace), eventBase: loop)
    let total = Mutex(RelayReport())
    let report = try loop.run { [self] in
      try await serve(until: shutdown) { relayed in
        total.withLock {
          $0.forwarded += relayed.forwarded
          $0.returned += relayed.returned
        }
      }
    }
    let bytes = total.withLock { $0 }
    let broken = report.failed + report.cancelled
    printLine(
      "Stopped; clients: \(report.served), cut off: \(broken); bytes: \(bytes.forwarded) up, \(bytes.returned) down."
    )
  }

  private func serve(
    until shutdown: GracefulShutdown,
    count: @escaping @Sendable (RelayReport) -> Void
  ) async throws -> ServingReport {
    let server = TCPServer()
    guard server.listen(address: address, port: listenPort) else {
      throw StartFailure(server)
    }
    // A client has its connection and one to the host, and until that is there a look-up of the name.
    limit.apply(to: server, descriptorsEach: HostAddress(host) == nil ? 4 : 2, relayLoops: 1)
    printLine("Relay is listening on \(server.serverAddress), port \(server.serverPort).")
    return try await server.serve(shutdown: shutdown) { [self] client in
      let upstream = TCPSocket()
      do {
        try await upstream.connect(to: host, port: port, timeout: .seconds(connectSeconds))
      } catch let error as SocketError {
        printLine("A client was not served: \(upstream.errorString).")
        client.abort()
        throw error
      }
      count(try await client.relay(with: upstream, idleTimeout: .seconds(idleSeconds)))
    }
  }
}
