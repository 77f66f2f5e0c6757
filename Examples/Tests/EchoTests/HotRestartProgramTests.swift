// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("EchoServer --restart-path as a program", .blocking, .timeLimit(.minutes(5)))
struct HotRestartProgramTests {
  private let folder: SocketFolder
  private let control: String

  init() throws {
    folder = try SocketFolder()
    control = folder.path + "/control"
  }

  /// A server that a second process can follow.
  private func start(_ path: String? = nil) throws -> (program: Program, port: UInt16) {
    let options = ["--address", "127.0.0.1", "--port", "0", "--restart-path", control]
    let program = try path.map { try Program(path: $0, options) } ?? Program("EchoServer", options)
    let line = try program.nextLine() ?? ""
    let match = try #require(
      line.wholeMatch(of: /Echo server is listening on 127\.0\.0\.1, port (\d+)\./),
      "\(line)"
    )
    let deadline = ContinuousClock.now + Program.limit
    while access(control, F_OK) != 0 {
      try #require(ContinuousClock.now < deadline)
      usleep(1000)
    }
    return (program, try #require(UInt16(match.1)))
  }

  private func expectEcho(from port: UInt16) throws {
    let client = try #require(Connection(port: port))
    client.send(Array("hello".utf8))
    #expect(client.receive(5) == Array("hello".utf8))
    client.endSending()
    #expect(client.receiveToEnd() == [])
  }

  @Test("A second process takes over, and the first serves the client that it has, and ends")
  func second() throws {
    let (first, port) = try start()
    let held = try #require(Connection(port: port))
    held.send([1])
    #expect(held.receive(1) == [1])
    let second = try Program(
      "EchoServer",
      ["--address", "127.0.0.1", "--port", "\(port)", "--restart-path", control]
    )
    #expect(try second.nextLine() == "Echo server is listening on 127.0.0.1, port \(port).")
    #expect(try first.nextLine() == "Handed over to process \(second.process).")
    // In order: between two messages.
    #expect(held.receiveToEnd() == [])
    held.endSending()
    #expect(try first.end() == .init(status: 0, output: "Stopped; connections served: 1.\n", errors: ""))
    try expectEcho(from: port)
    second.send(signal: SIGTERM)
    #expect(try second.end() == .init(status: 0, output: "Stopped; connections served: 1.\n", errors: ""))
  }

  @Test("SIGHUP makes a server start its successor")
  func startsItself() throws {
    let (first, port) = try start()
    first.send(signal: SIGHUP)
    // Of two processes that print at the same time.
    var lines: [String] = []
    for _ in 1...3 { lines.append(try first.nextLine() ?? "") }
    #expect(lines.contains("Echo server is listening on 127.0.0.1, port \(port)."))
    #expect(lines.contains("Stopped; connections served: 0."))
    let matches = lines.compactMap { $0.wholeMatch(of: /Handed over to process (\d+)\./) }
    let process = try #require(matches.first.flatMap { pid_t($0.1) })
    defer { kill(process, SIGKILL) }
    try expectEcho(from: port)
    kill(process, SIGTERM)
    #expect(try first.end() == .init(status: 0, output: "Stopped; connections served: 1.\n", errors: ""))
  }

  @Test("A successor that fails changes nothing")
  func failing() throws {
    let program = folder.path + "/program"
    try #require(symlink(Program.path(of: "EchoServer"), program) == 0)
    let (first, port) = try start(program)
    unlink(program)
    first.send(signal: SIGHUP)
    #expect(try first.nextLine() == "The successor cannot be started: No such file or directory.")
    try #require(symlink("/bin/false", program) == 0)
    first.send(signal: SIGHUP)
    #expect(try first.nextLine() == "The successor has ended with 1 before it was ready.")
    try expectEcho(from: port)
    first.send(signal: SIGTERM)
    #expect(try first.end() == .init(status: 0, output: "Stopped; connections served: 1.\n", errors: ""))
  }
}
