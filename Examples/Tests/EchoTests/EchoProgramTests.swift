// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("EchoServer as a program", .blocking, .timeLimit(.minutes(5)))
struct EchoProgramTests {
  static let waysToServe = [
    ["--style", "async"], ["--style", "callback"],
    ["--style", "async", "--loops", "2"], ["--style", "callback", "--loops", "2"],
  ]

  @Test("What a client sends comes back, then the end", arguments: waysToServe)
  func echo(options: [String]) throws {
    let server = try RunningEcho(options)
    let clients = try (0..<5).map { _ in try #require(Connection(port: server.port)) }
    for (number, client) in clients.enumerated() {
      for text in ["one \(number)\n", "two \(number)\n"] {
        client.send(text.utf8)
        #expect(client.receive(text.utf8.count) == Array(text.utf8))
      }
      client.endSending()
      #expect(client.receiveToEnd() == [])
    }
  }

  @Test("A lack of descriptors is reported as a text", arguments: waysToServe)
  func fewDescriptors(options: [String]) throws {
    let path = try Program.path(of: "EchoServer")
    // With a few more, Swift's own thread pool ends the program before it gets so far.
    for count in 5...6 {
      let command = ["--nofile=\(count):", path, "--address", "127.0.0.1", "--port", "0"] + options
      let end = try Program(path: "/usr/bin/prlimit", command).end()
      #expect(end.status == 1)
      #expect(end.errors.contains(/^Error: Unable to start the server: .+ .+\n$/), "\(end.errors)")
    }
  }

  @Test("An address has no more connections than --per-source says", arguments: waysToServe)
  func perSource(options: [String]) throws {
    let server = try RunningEcho(options + ["--per-source", "2"])
    var clients = try (0..<2).map { _ in try #require(Connection(port: server.port)) }
    for client in clients {
      client.send([1])
      #expect(client.receive(1) == [1])
    }
    #expect(try #require(Connection(port: server.port)).receiveToEnd() == nil, "reset")
    let last = clients.removeLast()
    last.endSending()
    #expect(last.receiveToEnd() == [])
    // The server notices the end a moment later.
    var echoed: [UInt8] = []
    let deadline = ContinuousClock.now + Program.limit
    while echoed.isEmpty, ContinuousClock.now < deadline {
      let next = try #require(Connection(port: server.port))
      next.send([2])
      echoed = next.receive(1)
    }
    #expect(echoed == [2])
  }

  @Test("A client that reads late loses nothing", arguments: waysToServe)
  func lateReader(options: [String]) throws {
    let server = try RunningEcho(options)
    let client = try #require(Connection(port: server.port))
    // More than the server holds, less than that and the kernel's buffers together.
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(client.send(bytes))
    client.endSending()
    #expect(client.receiveToEnd() == bytes)
  }

  @Test("SIGINT and SIGTERM end it in order", arguments: waysToServe + [["--http"]], [SIGINT, SIGTERM])
  func signals(options: [String], signal: Int32) throws {
    let server = try RunningEcho(options)
    let client = try #require(Connection(port: server.port))
    client.endSending()
    #expect(client.receiveToEnd() == [])
    server.program.send(signal: signal)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; connections served: 1.\n", errors: ""))
  }

  @Test("After a signal, an idle client holds it up for a few seconds alone", arguments: waysToServe)
  func grace(options: [String]) throws {
    let server = try RunningEcho(options)
    let idle = try #require(Connection(port: server.port))
    idle.send([1])
    #expect(idle.receive(1) == [1])
    server.program.send(signal: SIGINT)
    #expect(try server.program.end().status == 0)
    #expect(idle.receive(1) == [])
  }

  @Test("After a signal connections go on; a second one ends it at once", arguments: waysToServe)
  func secondSignal(options: [String]) throws {
    let server = try RunningEcho(options + ["--grace", "3600", "--drain-idle", "3000"])
    let idle = try #require(Connection(port: server.port))
    idle.send([1])
    #expect(idle.receive(1) == [1])
    server.program.send(signal: SIGINT)
    while Connection(port: server.port) != nil {}
    idle.send([2])
    #expect(idle.receive(1) == [2])
    server.program.send(signal: SIGTERM)
    #expect(try server.program.end().status == 0)
    #expect(idle.receive(1) == [])
  }

  @Test("With --drain-delay it accepts after a signal until the next", arguments: waysToServe)
  func drainDelay(options: [String]) throws {
    // A client that has been silent for a quarter of a second is ended otherwise.
    let server = try RunningEcho(
      options + ["--drain-delay", "3600", "--grace", "3600", "--drain-idle", "3000"]
    )
    let early = try #require(Connection(port: server.port))
    early.send([1])
    #expect(early.receive(1) == [1])
    server.program.send(signal: SIGTERM)
    #expect(try server.program.nextLine() == "Ends soon; clients are accepted for 3600.0 s more.")
    let late = try (0..<3).map { _ in try #require(Connection(port: server.port)) }
    for client in late + [early] {
      client.send([2])
      #expect(client.receive(1) == [2])
    }
    server.program.send(signal: SIGTERM)
    while Connection(port: server.port) != nil {}
    for client in late {
      client.endSending()
      #expect(client.receiveToEnd() == [])
    }
    early.send([3])
    #expect(early.receive(1) == [3])
    server.program.send(signal: SIGTERM)
    let end = try server.program.end()
    #expect(end.status == 0)
    let text = /Stopped; connections served: (\d+)\.\nAccepted during the delay: (\d+)\.\n(Cut off: .+\.\n)?/
    let match = try #require(try text.wholeMatch(in: end.output))
    // Some of the attempts that looked whether it still accepts may have been accepted.
    #expect(try #require(Int(match.1)) >= 4)
    #expect(try #require(Int(match.2)) >= 3)
  }

  @Test("A second server on the same port says so and fails", arguments: [[], ["--loops", "2"]])
  func portTaken(options: [String]) throws {
    let server = try RunningEcho()
    let second = try Program("EchoServer", ["--address", "127.0.0.1", "--port", "\(server.port)"] + options)
      .end()
    let complaint = "Error: Unable to start the server: The bound address is already in use\n"
    #expect(second == .init(status: 1, output: "", errors: complaint))
  }

  @Test("--diagnose prints the limits, the first one last, and ends", arguments: [1, 2])
  func diagnose(loops: Int) throws {
    let options = ["--diagnose", "--port", "0", "--max-connections", "5", "--loops", "\(loops)"]
    let end = try Program("EchoServer", options).end()
    let lines = end.output.split(separator: "\n")
    #expect((end.status, end.errors) == (0, ""))
    #expect(lines.first?.hasPrefix("descriptors: ") == true)
    #expect(lines.contains("connections: 0 of maxConnections, 5"))
    #expect(lines.contains { $0.hasPrefix("processors: ") && $0.contains("; \(loops) loop") })
    #expect(lines.last?.hasPrefix("first limit: maxConnections, after 5 more connections; ") == true)
    #expect(lines.count == 8)
  }

  @Test("With --dump it prints what it is doing when a signal comes, as text and as JSON")
  func dump() throws {
    let server = try RunningEcho(["--dump", "/dev/stdout"])
    let client = try #require(Connection(port: server.port))
    client.send([1])
    #expect(client.receive(1) == [1])
    for _ in 0..<2 {
      server.program.send(signal: SIGUSR1)
      let place = "server on 127.0.0.1, port \(server.port): live 1, pending 0, "
      #expect(try server.program.nextLine()?.hasPrefix(place) == true)
      #expect(try server.program.nextLine()?.hasPrefix("loop 0 (accepts): answered after ") == true)
      let connection = try server.program.nextLine() ?? ""
      #expect(connection.hasPrefix("  127.0.0.1:\(client.localPort), descriptor "))
      // The client's kernel may take its time to acknowledge.
      let sums = /; read 1 and 0 wait, delivered . and . wait; a task reads/
      #expect(connection.contains(/, connected, age \d+\.\d{3} s, silent/) && connection.contains(sums))
    }
    server.program.send(signal: SIGUSR2)
    let json = try server.program.nextLine() ?? ""
    #expect(
      json.hasPrefix(
        #"{"address":"127.0.0.1","port":\#(server.port),"path":null,"statistics":{"accepted":1,"#
      )
    )
    #expect(json.contains(#""peerPort":\#(client.localPort),"#) && json.hasSuffix("]}"))
    server.program.send(signal: SIGTERM)
    #expect(client.receiveToEnd() == [])
    #expect(try server.program.end().status == 0)
  }

  @Test(
    "Options that make no sense are explained",
    arguments: [
      ["--loops", "0"], ["--per-source", "0"], ["--grace=-1"], ["--grace", "inf"], ["--drain-delay=-1"],
      ["--drain-idle=-1"],
      ["--http", "--style", "callback"], ["--style", "other"], ["--path", "x", "--per-source", "1"],
      ["--path", "x", "--port", "1"],
    ]
  )
  func badOptions(options: [String]) throws {
    let end = try Program("EchoServer", options).end()
    #expect(end.status == 64)
    let name = options[0].prefix { $0 != "=" }
    #expect(end.errors.contains(name), "\(end.errors)")
  }
}
