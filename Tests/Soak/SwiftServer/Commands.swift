// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// The server's commands on its standard input, one word a line, each answered by a line.
struct Commands {
  private let server: TCPServer
  private let statistics: () -> TCPServer.Statistics
  private let end: () -> Void
  private let port: UInt16
  private var descriptors = rlimit()
  /// Errors that no command provoked.
  var failures = 0
  /// Takes nothing that is pending.
  private(set) var holds = false
  private var isToldToBreak = false

  /// - Parameters:
  ///   - statistics: of the server, or of the group that it accepts for.
  ///   - end: ends the program.
  init(_ server: TCPServer, statistics: @escaping () -> TCPServer.Statistics, end: @escaping () -> Void) {
    self.server = server
    self.statistics = statistics
    self.end = end
    port = server.serverPort
    unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &descriptors)
  }

  mutating func obey(_ line: String) {
    let words = line.split(separator: " ")
    switch words.first {
    case "report":
      report()
      return
    case "end": end()
    case "lower": lowerLimit()
    case "restore": setLimit(descriptors)
    case "pause": server.pauseAccepting()
    case "resume": server.resumeAccepting()
    case "limit": server.maxPendingConnections = words.last.flatMap { Int($0) } ?? 30
    case "hold": holds = true
    case "close":
      server.close()
      holds = false
      listenAgain()
    case "break":
      isToldToBreak = true
      shutdown(server.socketDescriptor, CInt(SHUT_RDWR))
      return  // answered when it listens again
    default: failures += 1
    }
    tell("done")
  }

  mutating func acceptFailed(_ error: SocketError) {
    if !server.isListening {
      failures += isToldToBreak ? 0 : 1
      isToldToBreak = false
      listenAgain()
      tell("done")
    } else if error != .socketResource {
      failures += 1
    }
  }

  private mutating func listenAgain() {
    if !server.listen(address: .localHost, port: port) {
      failures += 1
    }
  }

  private func report() {
    let now = statistics()
    let numbers = [
      now.accepted, now.delivered, now.pending + now.inMailbox, now.discardedOnClose, now.peerErrors,
      now.resourceErrors,
      now.listenerErrors, UInt64(Self.countDescriptors()), UInt64(failures),
    ]
    tell("report " + numbers.map(String.init).joined(separator: " "))
  }

  static func countDescriptors() -> Int {
    guard let directory = unsafe opendir("/proc/self/fd") else { return 0 }
    var count = 0
    while unsafe readdir(directory) != nil {
      count += 1
    }
    unsafe closedir(directory)
    return count
  }

  /// So that not one more descriptor can be had.
  private func lowerLimit() {
    let lowestFree = fcntl(0, F_DUPFD_CLOEXEC, 0)
    close(lowestFree)
    setLimit(rlimit(rlim_cur: rlim_t(max(lowestFree, 0)), rlim_max: descriptors.rlim_max))
  }

  private func setLimit(_ limit: rlimit) {
    var limit = limit
    unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}

/// Past the C library's streams: flushing them would wait for who reads a line.
func tell(_ line: String, to descriptor: CInt = STDOUT_FILENO) {
  let line = line + "\n"
  unsafe _ = write(descriptor, line, line.utf8.count)
}
