// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import FortuneWire
import Glibc
import ServerProgram
import TCPServerKit

/// Sends one of seven fortunes to every client and closes the connection: Qt's Fortune Server.
@main
struct FortuneServer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "FortuneServer",
    abstract: "Sends a fortune to every client that connects."
  )

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "The port to listen on; 0 lets the system choose one.")
  var port: UInt16 = 4242

  @OptionGroup var limit: ConnectionLimit

  @Flag(help: "Write fortunes as the examples of Qt before 5.7 read them.")
  var legacyFraming = false

  func run() throws {
    let loop = try makeEventBase()
    let server = TCPServer(eventBase: loop)
    let framing: FortuneWire.Framing = legacyFraming ? .lengthPrefixed : .bare

    server.newConnection.connect { [unowned server] in
      guard let client = server.nextPendingConnection() else { return }
      client.write(Fortunes.reply(framing: framing))
      client.disconnectFromHost()
    }

    guard server.listen(address: address, port: port) else {
      throw StartFailure(server)
    }
    loop.stopOnSignals(SIGINT, SIGTERM)
    limit.apply(to: server)

    printHowToAsk(server)

    loop.run()

    printLine("Stopped; fortunes served: \(server.statistics.delivered).")
  }
}
