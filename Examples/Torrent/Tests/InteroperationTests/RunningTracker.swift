// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// opentracker on a port of 127.0.0.1, for one torrent.
final class RunningTracker {
  let port: UInt16
  private let program: Program
  private let infoHash: [UInt8]

  private init(_ program: Program, port: UInt16, infoHash: [UInt8]) {
    self.program = program
    self.port = port
    self.infoHash = infoHash
  }

  deinit {
    program.send(signal: SIGKILL)
    _ = try? program.end()
  }

  var url: String { "http://127.0.0.1:\(port)/announce" }

  static func start(for infoHash: [UInt8], in folder: String) throws -> RunningTracker {
    // Debian's serves only those that are in its list.
    let hash = infoHash.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    try Data("\(hash)\n".utf8).write(to: URL(fileURLWithPath: folder + "/whitelist"))

    let port = Ports.free()
    let command = [
      Tools.tracker, "-i", "127.0.0.1", "-p", "\(port)", "-d", folder, "-w", "whitelist",
    ]
    // It refuses to serve as a root that cannot become nobody, which is what root of a network of its own may be.
    let asNobody = ["/usr/bin/unshare", "--user", "--map-user=1000", "--map-group=1000"]
    for command in [command, asNobody + command] {
      let program = try Program(path: command[0], Array(command.dropFirst()))
      let tracker = RunningTracker(program, port: port, infoHash: infoHash)
      try wait(until: "opentracker listens or ends") { program.hasExited || tracker.answers }
      if tracker.answers { return tracker }
    }
    throw UnexpectedOutput(line: "opentracker does not start")
  }

  private var answers: Bool {
    Connection(port: port) != nil
  }

  struct Peers: Equatable {
    var complete = 0
    var incomplete = 0
  }

  /// Who is there, as it answers every client.
  func peers() throws -> Peers {
    guard let connection = Connection(port: port) else { throw UnexpectedOutput(line: "no tracker") }
    let hash = infoHash.map { "%" + String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    connection.send(Array("GET /scrape?info_hash=\(hash) HTTP/1.0\r\n\r\n".utf8))
    // Not what the hash's bytes would be in UTF-8.
    let answer = String(
      decoding: (connection.receiveToEnd() ?? []).map { $0 < 0x80 ? $0 : 0x3f },
      as: UTF8.self
    )
    guard answer.contains("5:files") else { throw UnexpectedOutput(line: answer) }
    let match = answer.firstMatch(of: /8:completei(\d+)e10:downloadedi\d+e10:incompletei(\d+)e/)
    guard let match else { return Peers() }
    return Peers(complete: Int(match.1) ?? 0, incomplete: Int(match.2) ?? 0)
  }
}

extension Program {
  /// Whether it has ended, without waiting for it.
  var hasExited: Bool {
    var information = siginfo_t()
    let result = waitid(P_PID, id_t(process), &information, WEXITED | WNOHANG | WNOWAIT)
    return result == 0 && information.si_signo == SIGCHLD
  }
}
