// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

/// Sends 50 MiB from one end of a connection to the other, both in this program: Qt's Loopback.
@main
struct Loopback: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Loopback",
    abstract: "Sends 50 MiB to itself, never holding more than five chunks of 64 KiB to be written."
  )

  @Option(help: "The port to listen on; 0 lets the system choose one.")
  var port: UInt16 = 0

  func run() throws {
    let loop = try makeEventBase()
    let server = TCPServer(eventBase: loop)
    guard server.listen(address: .localHost, port: port) else {
      throw StartFailure(server)
    }
    loop.stopOnSignals(SIGINT, SIGTERM)
    printLine("Listening on \(server.serverAddress), port \(server.serverPort).")

    let receiver = Receiver(server)
    let sender = Sender()
    var failure: Failure?
    let end: (String?) -> Void = { reason in
      failure = failure ?? reason.map { Failure(description: $0) }
      loop.stop()
    }
    receiver.whenEnded = end
    sender.whenFailed = end
    // Nothing else ends a transfer that comes to a halt.
    let stall = EventTimer(interval: Transfer.longestHalt, isSingleShot: true, eventBase: loop)
    stall.timeout.connect { end("Nothing came for \(Transfer.longestHalt)") }
    stall.start()
    receiver.whenReceived = {
      stall.start()
      printLine("Sent \(mebibytes(sender.sent)), received \(mebibytes(receiver.received)).")
    }
    sender.connect(to: server.serverAddress, port: server.serverPort)

    loop.run()

    printLine("Received \(receiver.received) bytes; the write buffer held \(sender.largestBuffer) at most.")
    if let failure { throw failure }
    guard receiver.received == Transfer.total else {
      throw Failure(description: "Stopped before the end")
    }
  }

  private func mebibytes(_ count: Int) -> String {
    "\(count >> 20) MiB"
  }
}

enum Transfer {
  static let total = 50 << 20
  static let chunk = 64 << 10
  /// How long a tenth of it may take.
  static let longestHalt: Duration = .seconds(20)
}

/// Printed to the standard error by ParsableCommand, which then exits with 1.
private struct Failure: Error, CustomStringConvertible {
  var description: String
}
