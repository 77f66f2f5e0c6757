// SPDX-License-Identifier: Apache-2.0

import FortuneWire
import Glibc
import ProgramTesting
import Testing

/// A Fortune Server and how it serves.
struct ServerKind: CustomTestStringConvertible, Sendable {
  var program: String
  var options: [String] = []

  static let all = [
    ServerKind(program: "FortuneServer"),
    ServerKind(program: "ThreadedFortuneServer", options: ["--patience", "3600"]),
    ServerKind(program: "ThreadedFortuneServer", options: ["--pool", "3", "--patience", "3600"]),
  ]

  var testDescription: String {
    ([program] + options).joined(separator: " ")
  }
}

@Suite("Many clients of the Fortune Servers", .blocking, .timeLimit(.minutes(5)), .serialized)
struct ManyClientsTests {
  @Test("1,000 clients at once get a fortune each", arguments: ServerKind.all)
  func thousand(kind: ServerKind) throws {
    allowDescriptors(4096)
    let server = try RunningServer(kind.options, program: kind.program)
    _ = try server.program.nextLine()
    // Held up until all of them are there, so that it comes upon all of them at once.
    server.program.send(signal: SIGSTOP)
    var clients = try (0..<1000).map { _ in try #require(Connection(port: server.port)) }
    server.program.send(signal: SIGCONT)
    let served = try clients.count { client in
      let bytes = client.receiveToEnd() ?? []
      return Fortunes.all.contains(try FortuneWire.decode(bytes, framing: .bare) ?? "")
    }
    #expect(served == 1000)
    // A connection has ended when the client has closed it, too.
    clients = []
    server.program.send(signal: SIGTERM)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; fortunes served: 1000.\n", errors: ""))
  }

  /// For 1,000 connections beside what other tests have; the programs that are started inherit it.
  private func allowDescriptors(_ count: rlim_t) {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    guard limit.rlim_cur < count else { return }
    limit.rlim_cur = min(count, limit.rlim_max)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
