// SPDX-License-Identifier: Apache-2.0

// A server that listens on a loopback port, says so, waits for a client and is killed with it connected.
// For a test that the port is free at once. With "standard-descriptors" it does without those, and reports.

import Glibc
import TCPServerKit

/// Past the buffer of stdout, which dies with the process.
func say(_ line: String) {
  unsafe _ = write(STDOUT_FILENO, line, line.utf8.count)
}

/// Without standard descriptors, as some service managers start programs: which of them the library uses all the same.
func reportStandardDescriptors() throws {
  let output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 100)
  for descriptor in 0...2 as ClosedRange<CInt> { close(descriptor) }
  let base = try EventBase()
  let server = TCPServer(eventBase: base)
  let client = TCPSocket(eventBase: base)
  var used = server.listen(address: .localHost) ? "" : "not listening "
  client.connectToHost(.localHost, port: server.serverPort)
  let isThere = client.waitForConnected() && server.waitForNewConnection(msec: 60_000)
  let accepted = server.nextPendingConnection()
  // Once more by the loop's own way in.
  let second = TCPSocket(eventBase: base)
  second.connectToHost(.localHost, port: server.serverPort)
  let deadline = ContinuousClock.now + .seconds(60)
  while !server.hasPendingConnections && ContinuousClock.now < deadline {
    base.runOnce(timeout: .milliseconds(10))
  }
  let last = server.nextPendingConnection()
  if !isThere || last == nil { used += "not connected " }
  for descriptor in 0...2 as ClosedRange<CInt> where fcntl(descriptor, F_GETFD) >= 0 {
    used += "\(descriptor) "
  }
  let line = "used: \(used)\n"
  unsafe _ = write(output, line, line.utf8.count)
  withExtendedLifetime((accepted, last)) {}
}

if CommandLine.arguments.dropFirst().first == "standard-descriptors" {
  try reportStandardDescriptors()
  exit(0)
}

let server = TCPServer(eventBase: nil)
guard server.listen(address: .localHost, port: UInt16(CommandLine.arguments.dropFirst().first ?? "") ?? 0)
else {
  say("not listening: \(server.errorString)\n")
  exit(1)
}
say("listening\n")
// As long as a test may take to its client.
guard server.waitForNewConnection(msec: 240_000), server.nextPendingConnection() != nil else {
  exit(2)
}
raise(SIGKILL)
