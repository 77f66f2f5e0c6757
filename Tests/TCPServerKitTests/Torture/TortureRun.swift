// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit

/// Runs what is the test's own in the midst of code under test: its calls do not fail, and are not counted.
func aside<Result>(_ body: () throws -> Result) rethrows -> Result {
  fault_suspend()
  defer { fault_resume() }
  return try body()
}

/// One run of a scenario: what was reported to it, what it achieved, and what is wrong with it.
///
/// `@unchecked Sendable` because of this invariant: all of a run happens on one thread, its tasks included.
final class TortureRun: @unchecked Sendable {
  /// The texts of the errors that the library reported.
  private(set) var told: [String] = []
  /// What must not be; nil for nothing.
  private(set) var trouble: String?
  /// Whether it came out as it does when nothing fails.
  var achieved = false
  private var servers: [TCPServer] = []
  private var clients: [TortureClient] = []

  func object(_ what: String) {
    trouble = trouble ?? what
  }

  func tell(_ what: String, _ error: SocketError, _ text: String) {
    told.append("\(what): \(text)")
    if text.isEmpty {
      object("\(what) failed with \(error) without a text")
    }
  }

  func tell(_ what: String, _ socket: TCPSocket) {
    tell(what, socket.error, socket.errorString)
  }

  // MARK: - What a scenario is made of

  func server(on base: EventBase?) -> TCPServer {
    let server = TCPServer(eventBase: base)
    watch(server)
    return server
  }

  /// Records its errors, and judges it in the end.
  func watch(_ server: TCPServer) {
    servers.append(server)
    server.acceptError.connect { [unowned self, unowned server] error in
      tell("accepting", error, server.errorString)
    }
  }

  func listen(_ server: TCPServer) -> Bool {
    let listens = server.listen(address: .localHost)
    if !listens {
      tell("listen", server.serverError, server.errorString)
    }
    return listens
  }

  /// Nil when the server does not listen any more.
  func client(of server: TCPServer, sending text: String = "") -> TortureClient? {
    guard server.isListening else { return nil }
    return aside {
      guard let plain = PlainClient(to: server) else {
        object("a client cannot connect")
        return nil
      }
      return keep(plain, sending: text)
    }
  }

  func keep(_ plain: PlainClient, sending text: String = "") -> TortureClient {
    let client = TortureClient(plain)
    clients.append(client)
    client.plain?.send(text)
    return client
  }

  /// Records the errors of a socket that lives by signals.
  func watch(_ socket: TCPSocket) {
    socket.errorOccurred.connect { [unowned self, unowned socket] _ in tell("the socket", socket) }
  }

  // MARK: - The judge

  /// Whatever failed: the accounts balance, and a new client is served, by a server that reported if it had stopped.
  func judge() {
    for server in servers {
      mustBalance(server)
      mustServe(server)
      mustBalance(server)
      server.close()
    }
    if !achieved && told.isEmpty {
      object("it did not come out as planned, and nobody was told")
    }
  }

  private func mustBalance(_ server: TCPServer) {
    let now = server.statistics
    let turnedAway =
      now.shed + now.rejectedByAdmission + now.rejectedByLimit + now.rejectedBySourceLimit
      + now.rejectedBySourceRate + now.endedInPreface
    if now.accepted + now.added != now.delivered + now.pending + now.discardedOnClose + turnedAway {
      object("the accounts do not balance: \(now)")
    }
  }

  private func mustServe(_ server: TCPServer) {
    if !server.isListening && !server.listen(address: .localHost) {
      return object("it cannot listen again: \(server.errorString)")
    }
    while server.nextPendingConnection() != nil {}
    let before = server.statistics.accepted
    let newcomer = client(of: server)
    var turns = 0
    while server.statistics.accepted == before && turns < 100 {
      if let base = server.eventBase {
        base.runOnce(timeout: .milliseconds(50))
      } else {
        server.waitForNewConnection(msec: 50)
      }
      turns += 1
    }
    if server.statistics.accepted == before {
      object("a client that came afterwards is not served")
    }
    withExtendedLifetime(newcomer) {}
  }

  /// Lets go of everything.
  func end() {
    aside {
      for client in clients { client.plain = nil }
      clients = []
    }
    servers = []
  }
}

/// A client whose own calls never fail.
final class TortureClient {
  fileprivate(set) var plain: PlainClient?
  private var bytes: [UInt8] = []
  private(set) var count = 0

  fileprivate init(_ plain: PlainClient) {
    self.plain = plain
  }

  /// What it has received so far.
  var text: String {
    receive()
    return String(decoding: bytes, as: UTF8.self)
  }

  /// How much it has received so far.
  var received: Int {
    receive()
    return count
  }

  private func receive() {
    aside {
      while case .bytes(let more) = plain?.input() {
        count += more.count
        bytes += more.prefix(64 - min(bytes.count, 64))
      }
    }
  }
}
