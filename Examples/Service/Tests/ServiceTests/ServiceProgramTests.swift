// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("The service as a program", .blocking, .timeLimit(.minutes(5)))
struct ServiceProgramTests {
  @Test("SIGTERM makes it unready at once, and ends it when the delay is over")
  func ends() throws {
    // A longer delay where this test was held up for as long as the one before.
    for delay in [2, 8, 32] {
      let service = try RunningProgram(["SHUTDOWN_DELAY=\(delay)"])
      #expect(try HTTP.get(service.operationsPort, "/live").status == 200)
      #expect(try HTTP.get(service.operationsPort, "/ready").status == 200)
      let nothing = try HTTP.get(service.operationsPort, "/nothing")
      #expect(nothing.status == 404 && nothing.body.contains("/diagnosis"))
      let began = ContinuousClock.now
      service.program.send(signal: SIGTERM)
      let servesClients = (try? becomesUnreadyAndServes(service)) == true
      guard servesClients || ContinuousClock.now - began < .seconds(delay) else { continue }
      #expect(servesClients)
      let end = try service.program.end()
      #expect(end.status == 0)
      #expect(end.errors.contains("A shutdown is announced: accepting goes on"))
      #expect(end.errors.contains("tcp.server.report.served=1"))
      return
    }
    Issue.record("held up for each delay")
  }

  private func becomesUnreadyAndServes(_ service: RunningProgram) throws -> Bool {
    while try HTTP.get(service.operationsPort, "/ready").status == 200 {}
    guard try HTTP.get(service.operationsPort, "/ready").status == 503 else { return false }
    let line = Array("ping\n".utf8)
    // Those who come meanwhile are served.
    guard let client = Connection(port: service.port), client.send(line) else { return false }
    return client.receive(line.count) == line
  }

  @Test("An operator sees the connections, what limits the server, and a text for each metric")
  func operations() throws {
    let service = try RunningProgram(["LOOPS=1"])
    let client = try exchange(port: service.port)
    var text = ""
    while !text.contains("a task waits for the next message") {
      text = try HTTP.get(service.operationsPort, "/connections").body
    }
    #expect(text.contains("server on 127.0.0.1, port \(service.port): live 1,"))
    #expect(text.contains("127.0.0.1:\(client.localPort), descriptor"))
    #expect(text.contains("read 5 and 0 wait"))
    let json = try HTTP.get(service.operationsPort, "/connections.json").body
    #expect(json.hasPrefix("{") && json.contains("\(client.localPort)"))
    #expect(try HTTP.get(service.operationsPort, "/diagnosis").body.contains("\nfirst limit: "))
    let help = try service.metrics().split(separator: "\n").filter { $0.hasPrefix("# HELP ") }
    #expect(help.count > 10)
    // Name and text: without a text of its own a metric has its name there.
    #expect(help.allSatisfy { $0.hasSuffix(".") }, "\(help)")
  }

  @Test(
    "A setting that cannot be read ends it with a text",
    arguments: [
      ("LOOPS", "x"), ("LOOPS", "0"), ("MAX_CONNECTIONS", "0"), ("PORT", "many"), ("SHUTDOWN_DELAY", "nan"),
    ]
  )
  func settings(name: String, value: String) throws {
    let end = try Program(path: "/usr/bin/env", ["\(name)=\(value)", Program.path(of: "Service")]).end()
    #expect(
      end
        == .init(
          status: 1,
          output: "",
          errors: "Error: The environment variable \(name) is '\(value)', which it cannot be.\n"
        )
    )
  }

  @Test("An episode without descriptors has one line when it begins and one when it is over")
  func episode() throws {
    // Its log is on the standard output, too, where a line can be waited for.
    let settings = ["PORT=0", "OPERATIONS_PORT=0", "ADDRESS=127.0.0.1", "SHUTDOWN_DELAY=0", "LOOPS=1"]
    let merged = ["/bin/sh", "-c", "exec \"$0\" 2>&1", try Program.path(of: "Service")]
    let limited = ["--nofile=100:", "/usr/bin/env"] + settings + merged
    let program = try Program(path: "/usr/bin/prlimit", limited)
    func line(with text: String) throws -> String {
      var others = ""
      while let line = try? program.nextLine() {
        if line.contains(text) { return line }
        others += line + "\n"
      }
      throw UnexpectedOutput(line: "no line with \(text) but \(others)")
    }
    let match = try line(with: "Echo on port").firstMatch(of: /Echo on port (\d+)/)
    let port = try #require(match.flatMap { UInt16($0.1) })
    let clients = (0..<120).compactMap { _ in Connection(port: port) }
    #expect(clients.count == 120)
    #expect(try line(with: "Accepting connections").contains("fails: Out of resources"))
    for client in clients { client.endSending() }
    let over = try line(with: "Accepting connections")
    #expect(over.contains("Accepting connections goes on again") && over.contains("error.code=4"))
    program.send(signal: SIGTERM)
    let end = try program.end()
    #expect(end.status == 0)
    #expect(!end.output.contains("Accepting connections"))
    #expect(end.output.contains("tcp.server.report.served=120"))
  }

  @Test("Every expression of the dashboard names metrics that are exported")
  func dashboard() throws {
    let service = try RunningProgram()
    while try service.metric("tcp_server_loop_busy{server=\"echo\",loop=\"0\"}") == nil {}
    let exported = Set(try service.metrics().matches(of: /(?m)^([a-z_]+)[{ ]/).map { String($0.1) })
    let expressions = try Dashboard.expressions()
    #expect(expressions.count > 10)
    for expression in expressions {
      let names = expression.matches(of: /tcp_server_[a-z_]+/).map { String($0.0) }
      #expect(!names.isEmpty && exported.isSuperset(of: names), "\(expression)")
    }
  }

  @Test("promtool finds nothing wrong with the metrics", .enabled(if: Prometheus.isNeededOrThere))
  func check() throws {
    let service = try RunningProgram()
    _ = try exchange(port: service.port)
    let folder = try TemporaryFolder()
    try folder.write("metrics", service.metrics())
    let check = try Program(path: "/bin/sh", ["-c", "promtool check metrics < \(folder.path)/metrics"])
    #expect(try check.end() == Program.End(status: 0, output: "", errors: ""))
  }

  @Test("Prometheus gets what the clients have seen", .enabled(if: Prometheus.isNeededOrThere))
  func scraped() throws {
    let service = try RunningProgram()
    let prometheus = try Prometheus(of: service.operationsPort)
    let count = getenv("SERVICE_TEST_CONNECTIONS").flatMap { Int(String(cString: $0)) } ?? 10_000
    #expect(serveClients(count, port: service.port) == count)
    let accepted = "tcp_server_connections_accepted_total{server=\"echo\"}"
    let ended = "tcp_server_connection_duration_seconds_count{server=\"echo\",outcome=\"delivered\"}"
    let deadline = ContinuousClock.now + .seconds(60)
    while try service.metric(ended) != Double(count), ContinuousClock.now < deadline {}
    #expect(try service.metric(accepted) == Double(count))
    #expect(try service.metric(ended) == Double(count))
    #expect(try service.metric("tcp_server_connections_active{server=\"echo\"}") == 0)
    for metric in [accepted, ended] {
      while try prometheus.value(of: metric) != Double(count), ContinuousClock.now < deadline {}
      #expect(try prometheus.value(of: metric) == Double(count))
    }
    for expression in try Dashboard.expressions() {
      #expect(try prometheus.query(expression).status == 200, "\(expression)")
    }
  }
}
