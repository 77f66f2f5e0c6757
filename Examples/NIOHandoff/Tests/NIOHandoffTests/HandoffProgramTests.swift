// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("NIOHandoff as a program", .blocking, .timeLimit(.minutes(5)))
struct HandoffProgramTests {
  /// By TCPServer itself, and on a socket that SwiftNIO has bound.
  static let waysToListen = [["--address", "127.0.0.1"], ["--name", "127.0.0.1"]]

  @Test("1,000 connections, 50 of them at once, leave no descriptor behind", arguments: waysToListen)
  func thousand(options: [String]) throws {
    // More than 50 wait for ever, unless the server is notified of each that has ended.
    let server = try RunningHandoff(options + ["--max-connections", "50"])
    // All the threads of SwiftNIO have begun then, which hold descriptors of their own.
    try serveFifty(server)
    let before = try server.program.openDescriptors()
    for _ in 1..<20 {
      try serveFifty(server)
    }
    #expect(try server.program.comesToDescriptors(atMost: before))

    server.program.send(signal: SIGINT)
    let end = try server.program.end()
    #expect(
      end == .init(status: 0, output: "Stopped; connections served: 1000, cut off: 0.\n", errors: "")
    )
  }

  private func serveFifty(_ server: RunningHandoff) throws {
    let clients = try (0..<50).map { try #require(server.echo([UInt8($0), 1, 2, 3])) }
    for client in clients {
      client.endSending()
      #expect(client.receiveToEnd() == [])
    }
  }

  @Test("A client that reads late loses nothing", arguments: waysToListen)
  func lateReader(options: [String]) throws {
    let server = try RunningHandoff(options)
    let client = try #require(Connection(port: server.port))
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(client.send(bytes))
    client.endSending()
    #expect(client.receiveToEnd() == bytes)
  }

  @Test("Ctrl-C closes what does not end in a few seconds", arguments: waysToListen)
  func interrupt(options: [String]) throws {
    let server = try RunningHandoff(options)
    let idle = try #require(server.echo([1]))
    server.program.send(signal: SIGINT)
    let end = try server.program.end()
    #expect(
      end == .init(status: 0, output: "Stopped; connections served: 1, cut off: 1.\n", errors: "")
    )
    #expect(idle.receiveToEnd() == [])
  }

  @Test("Silent clients are not kept", arguments: waysToListen)
  func idle(options: [String]) throws {
    let server = try RunningHandoff(
      options + ["--first-byte", "0.2", "--idle", "0.5", "--max-connections", "2"]
    )
    let silent = try #require(Connection(port: server.port))
    // Held up until a byte of each is there.
    server.program.send(signal: SIGSTOP)
    let idle = try #require(Connection(port: server.port))
    // It waits until one of them has ended.
    let third = try #require(Connection(port: server.port))
    for client in [idle, third] { client.send([1]) }
    server.program.send(signal: SIGCONT)
    for client in [idle, third] { #expect(client.receive(1) == [1]) }
    #expect(silent.receiveToEnd() == [])
    #expect(idle.receiveToEnd() == [])
  }

  @Test("A port that is taken is reported", arguments: waysToListen)
  func portTaken(options: [String]) throws {
    let server = try RunningHandoff(Self.waysToListen[0])
    let end = try Program("NIOHandoff", options + ["--port", "\(server.port)"]).end()
    #expect(end.status == 1)
    #expect(end.output == "")
    #expect(end.errors.hasPrefix("Error: Unable to start the server: "))
    // In SwiftNIO's words or in ours.
    #expect(end.errors.contains("already in use"))
  }
}
