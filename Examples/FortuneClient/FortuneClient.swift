// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import FortuneWire
import Glibc
import TCPServerKit

/// Asks a Fortune Server for fortunes and prints them: Qt's Blocking Fortune Client, without an event loop.
@main
struct FortuneClient: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "FortuneClient",
    abstract: "Prints fortunes of a Fortune Server."
  )

  @Argument(help: "The server's name or address.")
  var host = "127.0.0.1"

  @Argument(help: "The server's port.")
  var port: UInt16 = 4242

  @Option(help: "How many fortunes to print, no two in a row the same.")
  var count = 1

  @Flag(help: "Read fortunes as the examples of Qt before 5.7 write them.")
  var legacyFraming = false

  private static let timeout = 5000
  /// A server with one fortune only must not be asked for ever.
  private static let attempts = 100

  func validate() throws {
    guard count > 0 else {
      throw ValidationError("--count must be at least 1.")
    }
  }

  func run() throws {
    var last: String?
    for _ in 0..<count {
      var fortune = try ask()
      for _ in 1..<Self.attempts where fortune == last {
        fortune = try ask()
      }
      print(fortune)
      guard fflush(nil) == 0 else {
        throw Complaint("The fortune cannot be written: \(String(cString: strerror(errno)))")
      }
      last = fortune
    }
  }

  private func ask() throws(Complaint) -> String {
    let socket = TCPSocket(eventBase: nil)
    socket.connectToHost(host, port: port)
    guard socket.waitForConnected(msec: Self.timeout) else {
      throw Complaint("Unable to connect to \(host), port \(port): \(socket.errorString)")
    }
    var received: [UInt8] = []
    while true {
      if let fortune = try decode(received) {
        return fortune
      }
      guard socket.waitForReadyRead(msec: Self.timeout) else {
        throw Complaint("No complete fortune from \(host), port \(port): \(socket.errorString)")
      }
      received += socket.readAll()
    }
  }

  private func decode(_ bytes: [UInt8]) throws(Complaint) -> String? {
    do {
      return try FortuneWire.decode(bytes, framing: legacyFraming ? .lengthPrefixed : .bare)
    } catch {
      let hint = legacyFraming ? "without" : "with"
      throw Complaint("What the server sent is not a fortune. Try again \(hint) --legacy-framing.")
    }
  }
}

/// Printed to the standard error by ParsableCommand, which then exits with 1.
private struct Complaint: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) {
    self.description = description
  }
}
