// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import TCPServerKit

// What the example servers have in common as programs.

/// Reads the address of an option.
package func hostAddress(_ text: String) throws -> HostAddress {
  guard let address = HostAddress(text) else {
    throw ValidationError("'\(text)' is not an IPv4 or IPv6 address.")
  }
  return address
}

/// Prints a line at once, also where the output is a pipe.
package func printLine(_ line: String) {
  print(line)
  fflush(nil)
}

/// Prints where a Fortune Server listens, and how to get a fortune there.
package func printHowToAsk(_ server: TCPServer) {
  let (address, port) = (server.serverAddress, server.serverPort)
  let shown = address == .any || address == .anyIPv4 ? machineAddress() : address
  printLine("The server is running on \(shown), port \(port).")
  printLine(
    "For a fortune: make fortune PORT=\(port), or FortuneClient \(shown) \(port). Ctrl-C ends the server."
  )
}

/// An event loop; without one there is nothing to start.
package func makeEventBase() throws(StartFailure) -> EventBase {
  do {
    return try EventBase()
  } catch {
    throw StartFailure("no descriptors or no memory left for an event loop")
  }
}

/// Printed to the standard error by ParsableCommand, which then exits with 1.
package struct StartFailure: Error, CustomStringConvertible {
  private let reason: String

  package init(_ server: TCPServer) {
    reason = server.errorString
  }

  package init(_ reason: String) {
    self.reason = reason
  }

  package var description: String {
    "Unable to start the server: \(reason)"
  }
}
