// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

/// A program that listens on a port of the system's choice, and says so in its first line.
struct Running {
  let program: Program
  let port: UInt16

  init(_ name: String, _ arguments: [String], descriptors: Int? = nil) throws {
    program = try Program(name, arguments, descriptors: descriptors)
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /.+ is listening on 127\.0\.0\.1, port (\d+)\./),
      let port = UInt16(match.1)
    else {
      throw UnexpectedOutput(line: line)
    }
    self.port = port
  }

  static func echo() throws -> Running {
    try Running("EchoServer", ["--address", "127.0.0.1", "--port", "0"])
  }

  static func relay(to port: UInt16, _ options: [String] = []) throws -> Running {
    try Running("Relay", ["0", "127.0.0.1", "\(port)", "--address", "127.0.0.1"] + options)
  }
}

@Suite("Relay as a program", .blocking, .timeLimit(.minutes(5)))
struct RelayProgramTests {
  /// How many bytes go through; `RELAY_BYTES=1073741824` is the long form.
  private static let bytes = getenv("RELAY_BYTES").flatMap { Int(String(cString: $0)) } ?? 64 << 20

  @Test("What a client sends goes up and comes down again, complete and in order, then the end")
  func manyBytes() throws {
    let echo = try Running.echo()
    let relay = try Running.relay(to: echo.port)
    let client = try #require(Connection(port: relay.port))
    // Of no length that a buffer has: bytes that are lost or doubled show.
    let pattern = (0..<1_000_003).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8 ^ $0 >> 16) }
    client.sendElsewhere(Self.bytes, of: pattern)
    var received = 0
    while received < Self.bytes {
      let start = received % pattern.count
      let piece = client.receive(min(65536, pattern.count - start, Self.bytes - received))
      let isSame = piece.withUnsafeBytes { piece in
        pattern[start...].withUnsafeBytes { wanted in
          guard let one = piece.baseAddress, let other = wanted.baseAddress else { return false }
          return memcmp(one, other, piece.count) == 0
        }
      }
      try #require(isSame && !piece.isEmpty, "at byte \(received)")
      received += piece.count
    }
    #expect(client.receiveToEnd() == [])
    relay.program.send(signal: SIGTERM)
    let sum = "Stopped; clients: 1, cut off: 0; bytes: \(Self.bytes) up, \(Self.bytes) down.\n"
    #expect(try relay.program.end() == .init(status: 0, output: sum, errors: ""))
  }

  @Test("The end of a client's side goes up, and the answer still comes down")
  func halfClose() throws {
    let echo = try Running.echo()
    let relay = try Running.relay(to: echo.port)
    let client = try #require(Connection(port: relay.port))
    client.send("last words".utf8)
    client.endSending()
    #expect(client.receiveToEnd() == Array("last words".utf8))
  }

  @Test("A client whose server cannot be reached is reset, with a message")
  func unreachable() throws {
    let reserved = try #require(ReservedPort())
    let relay = try Running.relay(to: reserved.number)
    let client = try #require(Connection(port: relay.port))
    #expect(client.receiveToEnd() == nil)
    #expect(try relay.program.nextLine() == "A client was not served: Connection refused.")
  }

  @Test("A reset of the client reaches the server")
  func reset() throws {
    let echo = try Running.echo()
    let relay = try Running.relay(to: echo.port)
    let client = try #require(Connection(port: relay.port))
    client.send([1])
    #expect(client.receive(1) == [1])
    client.reset()
    // Its connection is gone there, too.
    relay.program.send(signal: SIGTERM)
    echo.program.send(signal: SIGTERM)
    let end = try relay.program.end()
    #expect(end.output.contains("clients: 1, cut off: 1;"), "\(end)")
    #expect(try echo.program.end().status == 0)
  }

  @Test("Connections on which nothing goes are reset after --idle")
  func idle() throws {
    let echo = try Running.echo()
    let relay = try Running.relay(to: echo.port, ["--idle", "0.05"])
    let client = try #require(Connection(port: relay.port))
    #expect(client.receiveToEnd() == nil)
  }

  @Test("At the limit of connections further clients wait")
  func limit() throws {
    let echo = try Running.echo()
    let relay = try Running.relay(to: echo.port, ["--max-connections", "1"])
    let first = try #require(Connection(port: relay.port))
    first.send([1])
    #expect(first.receive(1) == [1])
    let second = try #require(Connection(port: relay.port))
    second.send([2])
    #expect(!second.isReadable(within: 100))
    first.endSending()
    #expect(first.receiveToEnd() == [])
    #expect(second.receive(1) == [2])
  }

  @Test("Clients and the pipes of their bytes leave the reserve of descriptors alone")
  func descriptors() throws {
    let echo = try Running.echo()
    let relay = try Running(
      "Relay",
      ["0", "127.0.0.1", "\(echo.port)", "--address", "127.0.0.1"],
      descriptors: 128
    )
    let use = try DescriptorUse(of: relay.program, at: relay.port)
    // A quarter of them is the reserve.
    #expect(use.most <= 96 && use.isComplete, "\(use)")
  }

  @Test("A second signal ends it at once, with the connections that are left")
  func secondSignal() throws {
    let reserved = try #require(ReservedPort(listening: true))
    let relay = try Running.relay(to: reserved.number, ["--grace", "3600"])
    let client = try #require(Connection(port: relay.port))
    client.send([1])
    relay.program.send(signal: SIGINT)
    while Connection(port: relay.port) != nil {}
    relay.program.send(signal: SIGTERM)
    #expect(try relay.program.end().status == 0)
    #expect(client.receiveToEnd() == nil)
  }

  @Test(
    "Arguments that make no sense are explained",
    arguments: [
      ["0", "localhost", "0"], ["70000", "localhost", "1"], ["0", "localhost", "1", "--idle", "0"],
      ["0", "localhost", "1", "--connect", "nan"],
      ["4246", "localhost", "4246"], ["4246", "127.0.0.1", "4246", "--address", "127.0.0.1"],
      ["0", "localhost", "1", "--grace=-1"],
    ]
  )
  func badArguments(arguments: [String]) throws {
    #expect(try Program("Relay", arguments).end().status == 64)
  }
}
