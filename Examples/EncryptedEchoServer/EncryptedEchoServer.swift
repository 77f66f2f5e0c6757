// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit
import TCPServerTLS

/// Sends back what its clients send, encrypted, on one loop or several. EchoServer's handler would do: the sockets are the
/// same.
@main
struct EncryptedEchoServer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "EncryptedEchoServer",
    abstract: "Sends back whatever a client sends, by TLS; SIGHUP reads the certificate again."
  )

  @Argument(help: "The file with the certificate and its chain, in PEM.")
  var certificate: String

  @Argument(help: "The file with the private key, in PEM.")
  var key: String

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "The port to listen on; 0 lets the system choose one.")
  var port: UInt16 = 4433

  @Option(help: "How many loops, each on a thread of its own, share the connections.")
  var loops = 1

  @OptionGroup var limit: ConnectionLimit

  @OptionGroup var deadlines: Deadlines

  func validate() throws {
    guard (1...256).contains(loops) else {
      throw ValidationError("--loops takes a number from 1 to 256.")
    }
  }

  func run() throws {
    let signals = try makeEventBase()
    let shutdown = GracefulShutdown()
    shutdown.beginOnSignals(SIGINT, SIGTERM, timeout: .seconds(3), eventBase: signals)
    let report = try signals.run { [self] in
      try await EventBaseGroup.withThreads(loops: loops) { try await serve(on: $0, until: shutdown, signals) }
    }
    printLine("Stopped; connections served: \(report.served).")
  }

  private func serve(
    on loops: EventBaseGroup,
    until shutdown: GracefulShutdown,
    _ signals: EventBase
  ) async throws -> ServingReport {
    let settings: SSLConfiguration
    do {
      settings = try SSLConfiguration(certificateFile: certificate, keyFile: key)
      try settings.checkForServer()
    } catch {
      throw StartFailure("\(error)")
    }
    let server = TCPServerGroup(on: loops, tls: settings)
    do {
      try await server.listen(address: address, port: port)
    } catch {
      throw try await server.withAcceptor { StartFailure($0) }
    }
    try await server.withAcceptor { [limit] in limit.apply(to: $0) }
    let renewal = Renewal(of: server, settings, certificate, key)
    defer { renewal.stop() }
    printLine("Echo server is listening on \(server.serverAddress), port \(server.serverPort), with TLS.")
    return try await server.serve(shutdown: shutdown) { [deadlines] in try await echo($0, deadlines) }
  }
}

private func echo(_ socket: TCPSocket, _ deadlines: Deadlines) async throws {
  var patience = deadlines.firstByte
  while let bytes = try await socket.read(maxLength: 65536, timeout: patience) {
    patience = deadlines.idle
    try await socket.write(bytes, timeout: deadlines.idle)
  }
}
