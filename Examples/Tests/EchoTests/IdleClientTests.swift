// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("EchoServer among clients that waste its time", .blocking, .timeLimit(.minutes(5)))
struct IdleClientTests {
  static let ways = [["--style", "async"], ["--style", "callback", "--loops", "2"], ["--http"]]

  /// What a client says that is answered, and the answer.
  private func exchange(_ options: [String]) -> (request: [UInt8], answer: [UInt8]) {
    options.contains("--http")
      ? (Array(HTTPProgramTests.request.utf8), Array(HTTPProgramTests.usual.utf8)) : ([1], [1])
  }

  @Test(
    "200 idle clients, of whom few have a descriptor, keep the next one out for a moment",
    arguments: ways
  )
  func fewDescriptors(options: [String]) throws {
    let server = try RunningEcho(options + ["--first-byte", "0.2"], descriptors: 64)
    // Held up until all have come, and one of them has said something.
    server.program.send(signal: SIGSTOP)
    var idle = try (0..<200).map { _ in try #require(Connection(port: server.port)) }
    let (request, answer) = exchange(options)
    let client = try #require(Connection(port: server.port))
    client.send(request)
    let (start, before) = (ContinuousClock.now, try server.program.processorTime())
    server.program.send(signal: SIGCONT)
    // The server ends them in the order in which they came. Each keeps its descriptor until it ends its side, too.
    while !idle.isEmpty {
      try #require(idle.removeFirst().receiveToEnd() == [])
    }
    #expect(client.receive(answer.count) == answer)
    // It came after the silent ones before it, a few of whom had their time at once.
    let time = start.duration(to: .now)
    #expect(time > .seconds(0.6))
    // A server that spins takes all of a processor.
    #expect(try server.program.processorTime() - before < time * 0.25)
    client.endSending()
    #expect(client.receiveToEnd() == [])
    server.program.send(signal: SIGTERM)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; connections served: 201.\n", errors: ""))
  }

  @Test("A client that has sent something has the time of --idle, again after each message", arguments: ways)
  func idle(options: [String]) throws {
    let server = try RunningEcho(options + ["--first-byte", "3600", "--idle", "2"])
    let silent = try #require(Connection(port: server.port))
    let (request, answer) = exchange(options)
    var isOver = false
    while !isOver {
      let client = try #require(Connection(port: server.port))
      let began = ContinuousClock.now
      client.send(request)
      #expect(client.receive(answer.count) == answer)
      client.send(request)
      isOver = client.receive(answer.count) == answer
      // Where this test was held up for the two seconds, another client is for it.
      try #require(isOver || ContinuousClock.now - began >= .seconds(2))
      #expect(!isOver || client.receiveToEnd() == [])
    }
    // Not the one whose first byte is waited for.
    silent.send(request)
    #expect(silent.receive(answer.count) == answer)
  }

  @Test("A client that does not read its answers is cut off", arguments: EchoProgramTests.waysToServe)
  func notReading(options: [String]) throws {
    let server = try RunningEcho(options + ["--idle", "0.3"])
    let before = try server.program.openDescriptors()
    let client = try #require(Connection(port: server.port))
    // Until the buffers on the way are full, and then the server's time is over.
    let chunk = [UInt8](repeating: 1, count: 1 << 20)
    var sent = 0
    while sent < 200, client.send(chunk) { sent += 1 }
    #expect(sent < 200)
    #expect(try server.program.comesToDescriptors(atMost: before))
  }

  @Test("Further clients than --max-connections wait, and are served later", arguments: ways)
  func maxConnections(options: [String]) throws {
    let server = try RunningEcho(options + ["--max-connections", "2"])
    let (request, answer) = exchange(options)
    var clients = try (0..<3).map { _ in try #require(Connection(port: server.port)) }
    for client in clients { client.send(request) }
    for client in clients[..<2] { #expect(client.receive(answer.count) == answer) }
    #expect(!clients[2].isReadable())
    clients.removeFirst().endSending()
    #expect(clients[1].receive(answer.count) == answer)
  }

  @Test("A request that comes byte by byte has no more time than another")
  func slowRequest() throws {
    let server = try RunningEcho(["--http", "--idle", "0.5"])
    let client = try #require(Connection(port: server.port))
    // Without an end: the answer comes amid it.
    while client.send("a".utf8), !client.isReadable(within: 50) {}
    let answer = String(decoding: client.receiveToEnd() ?? [], as: UTF8.self)
    #expect(answer.hasPrefix("HTTP/1.1 408 Request Timeout\r\n"), "\(answer)")
    #expect(answer.matches(of: /HTTP\/1\.1/).count == 1)
  }
}
