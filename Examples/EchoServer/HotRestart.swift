// SPDX-License-Identifier: Apache-2.0

import Glibc
import ServerProgram
import TCPServerKit

/// The processes of this program before and after this one, which meet at a path.
struct HotRestart: Sendable {
  /// What listening sockets are handed over by, and what a socket unit has as `FileDescriptorName=`.
  static let socketName = "echo"

  let path: String
  private let program: SuccessorProgram

  /// SIGHUP starts the program once more, as this one was started.
  init(at path: String, eventBase: EventBase) {
    self.path = path
    program = SuccessorProgram(path: CommandLine.arguments[0]) { printLine("\($0).") }
    program.startOnSignals(SIGHUP, eventBase: eventBase)
  }

  /// Offers the server's socket to other processes until one of them serves, and begins the shutdown then.
  ///
  /// - Returns: that process, to be held to the end of this one; nil when the server ended first.
  func handOver(
    _ server: TCPServerGroup,
    _ shutdown: GracefulShutdown,
    grace: Duration
  ) async -> Successor? {
    do {
      let successor = try await Successor.waitUntilReady(
        for: [Self.socketName: server],
        at: path,
        starting: program
      )
      if let process = successor.process { ServiceNotifier()?.mainProcess(process) }
      printLine("Handed over to process \(successor.process ?? 0).")
      shutdown.begin(timeout: grace)
      return successor
    } catch is CancellationError {
      return nil
    } catch {
      printLine("No process can take over: \(error).")
      return nil
    }
  }
}
