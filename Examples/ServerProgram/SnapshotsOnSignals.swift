// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
import TCPServerKit

/// Writes what servers are doing whenever a signal asks for it: SIGUSR1 for text, SIGUSR2 for JSON.
///
/// The signals come to a thread of Dispatch's, so that no loop that is stuck keeps them from being answered.
package struct SnapshotsOnSignals {
  private var sources: [any DispatchSourceSignal] = []

  /// Returns when the signals are answered.
  ///
  /// - Parameters:
  ///   - servers: each is a text of its own, or a line of JSON.
  ///   - path: the file to append to; `-` for the standard error.
  package init(of servers: [TCPServerGroup], to path: String) async {
    for number in [SIGUSR1, SIGUSR2] {
      // By default it would end the program.
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler {
        Task {
          for server in servers {
            let snapshot = await server.snapshot()
            append(number == SIGUSR1 ? "\(snapshot)" : snapshot.json, to: path)
          }
        }
      }
      await withCheckedContinuation { answered in
        source.setRegistrationHandler { answered.resume() }
        source.resume()
      }
      sources.append(source)
    }
  }

  package func stop() {
    for source in sources { source.cancel() }
  }
}

/// Appends a text and a line feed. For its owner's eyes: it names clients.
private func append(_ text: String, to path: String) {
  let file = path == "-" ? dup(STDERR_FILENO) : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
  guard file >= 0 else { return perror(path) }
  defer { close(file) }
  var rest = Array((text + "\n").utf8)[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    guard count > 0 || errno == EINTR else { return perror(path) }
    rest = rest.dropFirst(max(count, 0))
  }
}
