// A server that listens on a loopback port, says so, waits for a client and is killed with it connected.
// For a test that the port is free at once.

import Glibc
import TCPServerKit

/// Past the buffer of stdout, which dies with the process.
func say(_ line: String) {
  unsafe _ = write(STDOUT_FILENO, line, line.utf8.count)
}

let server = TCPServer(eventBase: nil)
guard server.listen(address: .localHost, port: UInt16(CommandLine.arguments.dropFirst().first ?? "") ?? 0)
else {
  say("not listening: \(server.errorString)\n")
  exit(1)
}
say("listening\n")
guard server.waitForNewConnection(msec: 10_000), server.nextPendingConnection() != nil else {
  exit(2)
}
raise(SIGKILL)
