// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Synchronization
import Testing

@Suite("Gateway at its end", .blocking, .timeLimit(.minutes(5)))
struct GatewayDrainTests {
  private struct Seen {
    var answered = 0
    var lost = 0
  }

  /// What the clients of a test have seen so far, on their threads.
  private final class Clients: Sendable {
    private let seen = Mutex(Seen())

    var now: Seen { seen.withLock { $0 } }

    /// Asks, one client after the other, until no one listens any more.
    func ask(_ port: UInt16) {
      while let client = Connection(port: port) {
        let isAnswered = client.exchange() == "!"
        seen.withLock { if isAnswered { $0.answered += 1 } else { $0.lost += 1 } }
      }
    }
  }

  @Test("Under load it accepts during the delay, then ends with each client that it has accepted")
  func drains() async throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(
      to: [echo.port],
      ["--drain-delay", "0.3", "--grace", "60", "--loops", "2"]
    )
    let idle = try #require(Connection(port: gateway.port))
    idle.send([1])
    #expect(idle.receive(1) == [1])
    let (clients, port, process) = (Clients(), gateway.port, gateway.program.process)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<3 { group.addTask { clients.ask(port) } }
      group.addTask {
        while clients.now.answered < 30 { usleep(1000) }
        kill(process, SIGTERM)
      }
      try await group.waitForAll()
    }
    let seen = clients.now
    #expect(seen.answered >= 30 && seen.lost == 0, "\(seen)")
    // Between two messages: it ends in order.
    #expect(idle.receiveToEnd() == [])
    let end = try gateway.program.end()
    #expect(end.status == 0)
    let lines = end.output.split(separator: "\n")
    #expect(lines.first == "Ends soon; clients are accepted for 0.3 s more.")
    #expect(
      lines.dropFirst().first?.hasPrefix(
        "Stopped; clients: \(seen.answered + 1), cut off: 0, without a backend: 0;"
      )
        == true,
      "\(end)"
    )
    let during = lines.dropFirst(2).first?.wholeMatch(of: /Accepted during the delay: (\d+)\./)
    #expect((during.flatMap { Int($0.1) } ?? 0) > 0, "\(end)")
  }

  @Test("A second signal ends the delay, and a third one the connections that are left")
  func secondSignal() throws {
    // It does not answer.
    let backend = try #require(ReservedPort(listening: true))
    let gateway = try Listening.gateway(to: [backend.number], ["--drain-delay", "3600", "--grace", "3600"])
    let client = try #require(Connection(port: gateway.port))
    client.send([1])
    gateway.program.send(signal: SIGTERM)
    #expect(try gateway.program.nextLine() == "Ends soon; clients are accepted for 3600.0 s more.")
    gateway.program.send(signal: SIGTERM)
    while Connection(port: gateway.port) != nil {}
    gateway.program.send(signal: SIGTERM)
    #expect(try gateway.program.end().status == 0)
    #expect(client.receiveToEnd() == nil)
  }
}
