// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import FortuneWire
import Glibc
import ServerProgram
import TCPServerKit

/// Sends a fortune to every client, each served on a thread of its own: Qt's Threaded Fortune Server.
@main
struct ThreadedFortuneServer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ThreadedFortuneServer",
    abstract: "Sends a fortune to every client that connects, from a thread of its own or one of a pool."
  )

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "The port to listen on; 0 lets the system choose one.")
  var port: UInt16 = 4242

  @Option(help: "Serve clients on this many threads, each with a loop, not on a thread for each.")
  var pool: Int?

  @Option(help: "How many seconds a client may take until its connection has ended.")
  var patience = 30.0

  @OptionGroup var limit: ConnectionLimit

  @Flag(help: "Write fortunes as the examples of Qt before 5.7 read them.")
  var legacyFraming = false

  /// How long clients may go on after a signal.
  private static let grace: Duration = .seconds(3)

  func validate() throws {
    guard (1...256).contains(pool ?? 1) else {
      throw ValidationError("--pool takes a number from 1 to 256.")
    }
    guard patience > 0, patience <= 1_000_000 else {
      throw ValidationError("--patience takes a number of seconds, more than 0 and at most 1000000.")
    }
  }

  func run() throws {
    let loop = try makeEventBase()
    loop.stopOnSignals(SIGINT, SIGTERM)
    let workers = try pool.map { try WorkerPool(count: $0) }
    defer { workers?.end() }
    let server = DistributingServer(
      loop: loop,
      framing: legacyFraming ? .lengthPrefixed : .bare,
      workplace: workers ?? ThreadPerClient(),
      patience: .seconds(patience)
    )
    guard server.listen(address: address, port: port) else {
      throw StartFailure(server)
    }
    limit.apply(to: server)
    printHowToAsk(server)

    loop.run()

    server.close()
    server.runUntilConnectionsEnded(timeout: Self.grace)
    let unfinished = server.statistics.live
    let rest = unfinished > 0 ? "; unfinished: \(unfinished)" : ""
    printLine("Stopped; fortunes served: \(server.served)\(rest).")
  }
}
