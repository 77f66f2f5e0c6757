// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// What the clients of a server that ends see of it, whose requests may be on their way.
@Suite("The connections of a server that ends", .timeLimit(.minutes(5)))
struct DrainEndTests {
  @Test("A request that crosses the end of its connection meets no reset", arguments: [false, true])
  func crossing(waitsForMessages: Bool) async throws {
    try await onLoop { _ in
      let (server, shutdown) = (try listening(), GracefulShutdown())
      let serving = serve(server, shutdown, waitsForMessages)
      let client = try #require(PlainClient(to: server))
      client.send("one\n")
      try await until { client.input() == .bytes(Array("one\n".utf8)) }
      // The server waits a second for the client's end, within which this thread may be stopped.
      fault_stop_clock()
      defer { fault_reset_clock() }
      shutdown.begin(timeout: .seconds(100_000))
      // The end arrives, and the client has not looked before it asks again: for longer than the server needs to see that
      // the end was acknowledged.
      try await until {
        fault_advance_clock(10)
        return Descriptors.wait(client.descriptor, for: POLLIN, msec: 0)
      }
      for _ in 0..<10 {
        usleep(10_000)
        fault_advance_clock(10)
        await turns(5)
      }
      #expect(client.send("two\n") == 4)
      #expect(client.nextInput() == .end)
      #expect(client.send("three\n") == 6)
      #expect(Descriptors.option(client.descriptor, SOL_SOCKET, SO_ERROR) == 0)
      client.end()
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
    }
  }

  @Test("A client that does not end its side is waited for a second, whatever it sends meanwhile")
  func endless() async throws {
    try await onLoop { _ in
      let (server, shutdown, ended) = (try listening(), GracefulShutdown(), Flag())
      let serving = serve(server, shutdown, true, ended)
      let client = try #require(PlainClient(to: server))
      client.send("one\n")
      try await until { client.input() == .bytes(Array("one\n".utf8)) }
      fault_stop_clock()
      defer { fault_reset_clock() }
      shutdown.begin(timeout: .seconds(1000))
      try await until { client.input() == .end }
      // Its acknowledgement of the end is seen by a look at a later time.
      for _ in 0..<10 {
        fault_advance_clock(95)
        client.send("more\n")
        await turns(20)
      }
      #expect(!ended.isSet)
      fault_advance_clock(1000)
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
      try await until { client.send("late\n") == 0 }
    }
  }

  @Test("So is one whose handler returns only while the server ends")
  func lateHandler() async throws {
    try await onLoop { _ in
      let (server, shutdown, returns) = (try listening(), GracefulShutdown(), Flag())
      let bound = LoopBound(server)
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          socket.deliveryTimeout = .seconds(100_000)
          try await until { returns.isSet }
        }
      }
      let client = try #require(PlainClient(to: server))
      try await until { server.statistics.delivered == 1 }
      shutdown.begin(timeout: .seconds(100_000))
      try await until { !server.isListening }
      returns.set()
      let report = try await serving.value
      #expect(report.endedInTime == 1 && report.cancelled == 0 && report.undelivered == 0)
      #expect(client.nextInput() == .end)
    }
  }

  @Test(
    "Idle connections are answered once more within the idle time, and end behind the answer",
    arguments: [true, false]
  )
  func idleTime(waitsForMessages: Bool) async throws {
    try await onLoop { base in
      let server = try listening()
      let shutdown = GracefulShutdown(idleTime: .seconds(1000))
      #expect(shutdown.idleTime == .seconds(1000))
      let serving = serve(server, shutdown, waitsForMessages)
      let asked = try #require(PlainClient(to: server))
      let silent = try #require(PlainClient(to: server))
      asked.send("one\n")
      try await until { asked.input() == .bytes(Array("one\n".utf8)) }
      try await until { server.statistics.delivered == 2 }
      shutdown.begin(timeout: .seconds(2000))
      try await until { !server.isListening }
      // Longer than a connection is silent that is taken for one between two messages, and than one for its first byte.
      try await base.sleep(for: .milliseconds(1200))
      try #require(asked.input() == .nothing && silent.input() == .nothing)
      for client in [asked, silent] {
        client.send("two\n")
        try await until { client.input() == .bytes(Array("two\n".utf8)) }
        try await until { client.input() == .end }
        client.end()
      }
      #expect(try await serving.value.numbers == [2, 0, 2, 0])
    }
  }

  @Test("Connections that are not used within the idle time end after it, those of a group, too")
  func idleTimeIsOver() async throws {
    try await onLoops { group in
      let server = TCPServerGroup(on: group)
      try await server.listen(address: .localHost)
      // Less than zero is zero.
      #expect(GracefulShutdown(idleTime: .seconds(-1)).idleTime == .zero)
      let shutdown = GracefulShutdown(idleTime: .milliseconds(700))
      let serving = start {
        try await server.serve(shutdown: shutdown) { socket in
          while try await socket.waitForMessage() { try await socket.write(socket.readAll()) }
        }
      }
      let client = try #require(PlainClient(port: server.serverPort))
      client.send("one\n")
      try await until { client.input() == .bytes(Array("one\n".utf8)) }
      let begun = ContinuousClock.now
      shutdown.begin(timeout: .seconds(1000))
      try await until { client.input() == .end }
      #expect(ContinuousClock.now - begun >= .milliseconds(700))
      client.end()
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
    }
  }

  private func serve(
    _ server: TCPServer,
    _ shutdown: GracefulShutdown,
    _ waitsForMessages: Bool,
    _ ended: Flag = Flag()
  ) -> Task<ServingReport, any Error> {
    let bound = LoopBound(server)
    return start {
      defer { ended.set() }
      return try await bound.value.serve(shutdown: shutdown) { socket in
        while true {
          if waitsForMessages { guard try await socket.waitForMessage() else { return } }
          guard let line = try await socket.readLine() else { return }
          try await socket.write(line)
        }
      }
    }
  }
}
