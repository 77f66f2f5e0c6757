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
    var isStopped = false
  }

  /// What the clients of a test have seen so far, on their threads.
  private final class Clients: Sendable {
    private let seen = Mutex(Seen())

    var now: Seen { seen.withLock { $0 } }

    /// Asks, one client after the other, until ``stop()``.
    func ask(_ port: UInt16) {
      while !seen.withLock({ $0.isStopped }) {
        let isAnswered = Connection(port: port)?.exchange() == "!"
        seen.withLock { if isAnswered { $0.answered += 1 } else { $0.lost += 1 } }
      }
    }

    func stop() {
      seen.withLock { $0.isStopped = true }
    }

    /// Waits until so many more have an answer.
    func waitForAnswers(_ count: Int) throws {
      let wanted = now.answered + count
      let deadline = ContinuousClock.now + Program.limit
      while now.answered < wanted {
        guard ContinuousClock.now < deadline else { throw UnexpectedOutput(line: "\(now)") }
        usleep(1000)
      }
    }
  }

  @Test("Under load it accepts during the delay, then ends with each client that it has accepted")
  func drains() throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(
      to: [echo.port],
      ["--drain-delay", "3600", "--grace", "60", "--loops", "2"]
    )
    let idle = try #require(Connection(port: gateway.port))
    idle.send([1])
    #expect(idle.receive(1) == [1])
    let (clients, port) = (Clients(), gateway.port)
    let threads = (0..<3).map { _ in OwnThread { clients.ask(port) } }
    do {
      defer {
        clients.stop()
        for thread in threads { thread.join() }
      }
      try clients.waitForAnswers(30)
      gateway.program.send(signal: SIGTERM)
      #expect(try gateway.program.nextLine() == "Ends soon; clients are accepted for 3600.0 s more.")
      try clients.waitForAnswers(30)
    }
    let seen = clients.now
    #expect(seen.lost == 0, "\(seen)")
    gateway.program.send(signal: SIGTERM)
    // Between two messages: it ends in order.
    #expect(idle.receiveToEnd() == [])
    let end = try gateway.program.end()
    #expect(end.status == 0)
    let lines = end.output.split(separator: "\n")
    #expect(
      lines.first?.hasPrefix(
        "Stopped; clients: \(seen.answered + 1), cut off: 0, without a backend: 0;"
      )
        == true,
      "\(end)"
    )
    let during = lines.dropFirst().first?.wholeMatch(of: /Accepted during the delay: (\d+)\./)
    // Of the last 30 each of the three threads may have had one client accepted before.
    #expect((during.flatMap { Int($0.1) } ?? 0) >= 27, "\(end)")
  }

  @Test("A second signal ends the delay, and a third one the connections that are left")
  func secondSignal() throws {
    // The second client's backend does not answer.
    let (echo, backend) = (try Listening.echo(), try #require(ReservedPort(listening: true)))
    let options = ["--drain-delay", "3600", "--grace", "3600"]
    let gateway = try Listening.gateway(to: [echo.port, backend.number], options)
    let idle = try #require(Connection(port: gateway.port))
    idle.send([1])
    #expect(idle.receive(1) == [1])
    let client = try #require(Connection(port: gateway.port))
    client.send([1])
    gateway.program.send(signal: SIGTERM)
    #expect(try gateway.program.nextLine() == "Ends soon; clients are accepted for 3600.0 s more.")
    gateway.program.send(signal: SIGTERM)
    // Idle connections end when the delay does.
    #expect(idle.receiveToEnd() == [])
    gateway.program.send(signal: SIGTERM)
    #expect(try gateway.program.end().status == 0)
    #expect(client.receiveToEnd() == nil)
  }
}
