// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Graceful shutdown", .timeLimit(.minutes(5)))
struct ShutdownTests {
  @Test(
    "Of 200 busy connections none is cut: each gets its answer, and so do clients the kernel has accepted"
  )
  func underLoad() async throws {
    try await onLoop { _ in
      // An address of its own: on 127.0.0.1 another test may take the port as soon as it is free.
      let address = "127.0.0.77"
      let server = TCPServer()
      try #require(server.listen(address: try #require(HostAddress(address))))
      let port = server.serverPort
      let shutdown = GracefulShutdown()
      let (bound, gate) = (LoopBound(server), Gate())
      defer { gate.open() }
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          guard let line = try await socket.readLine() else { return }
          // Busy until the shutdown has long begun.
          await gate.pass()
          try await socket.write(line)
        }
      }
      let busy = (0..<200).compactMap { _ in PlainClient(address, port: port) }
      for client in busy { client.send("busy\n") }
      try await until { server.statistics.delivered == 200 }
      // The kernel completes these before the server has heard of them.
      let queued = (0..<20).compactMap { _ in PlainClient(address, port: port) }
      for client in queued { client.send("late\n") }
      shutdown.begin(timeout: .seconds(1000))
      try await until { !server.isListening }
      #expect(PlainClient(address, port: port) == nil)
      #expect(busy.allSatisfy { $0.input() == .nothing })
      gate.open()
      let report = try await serving.value
      #expect(report.numbers == [220, 0, 220, 0])
      #expect(busy.allSatisfy { $0.nextInput() == .bytes(Array("busy\n".utf8)) })
      #expect(queued.allSatisfy { $0.nextInput() == .bytes(Array("late\n".utf8)) })
      #expect((busy + queued).allSatisfy { $0.nextInput() == .end })
      expectBalanced(server)
    }
  }

  @Test("A handler that never ends is cancelled at the deadline, also of a server closed before")
  func deadline() async throws {
    try await onLoop { base in
      for closedBefore in [false, true] {
        let server = try listening()
        let shutdown = GracefulShutdown()
        let bound = LoopBound(server)
        let ended = Flag()
        let serving = start {
          defer { ended.set() }
          return try await bound.value.serve(shutdown: shutdown) { socket in
            if socket.peerPort % 2 < 2 { try await base.sleep(for: .seconds(1000)) }
          }
        }
        let client = try #require(PlainClient(to: server))
        try await until { server.statistics.delivered == 1 }
        if closedBefore {
          server.close()
          await turns(3)
        }
        fault_stop_clock()
        defer { fault_reset_clock() }
        shutdown.begin(timeout: .milliseconds(200))
        await turns()
        fault_advance_clock(195)
        await turns()
        #expect(!ended.isSet)
        fault_advance_clock(10)
        let report = try await serving.value
        #expect(report.numbers == [1, 0, 0, 1])
        #expect(client.nextInput() != .nothing)
      }
    }
  }

  @Test("Begun again, its time can only become shorter; with zero it is over")
  func shorter() async throws {
    try await onLoop { base in
      let server = try listening()
      let (bound, shutdown, ended) = (LoopBound(server), GracefulShutdown(), Flag())
      let serving = start {
        defer { ended.set() }
        return try await bound.value.serve(shutdown: shutdown) { _ in
          try await base.sleep(for: .seconds(1000))
        }
      }
      let client = try #require(PlainClient(to: server))
      try await until { server.statistics.delivered == 1 }
      fault_stop_clock()
      defer { fault_reset_clock() }
      for timeout in [.seconds(10), .seconds(1), .seconds(5)] as [Duration] {
        shutdown.begin(timeout: timeout)
        await turns()
      }
      fault_advance_clock(995)
      await turns()
      #expect(!ended.isSet)
      shutdown.begin(timeout: .zero)
      #expect(try await serving.value.numbers == [1, 0, 0, 1])
      withExtendedLifetime(client) {}
    }
  }

  @Test("A server that listens again after finish(on:) has ended it is not ended by a shorter time")
  func listensAgain() async throws {
    try await onLoop { _ in
      let (server, shutdown) = (try listening(), GracefulShutdown())
      server.finish(on: shutdown)
      shutdown.begin(timeout: .seconds(1000))
      try await until { !server.isListening }
      #expect(server.listen(address: .localHost))
      shutdown.begin(timeout: .zero)
      await turns()
      #expect(server.isListening)
    }
  }

  @Test("A shutdown that has not begun keeps no server that has ended")
  func keepsNothing() async throws {
    try await onLoop { _ in
      let shutdown = GracefulShutdown()
      var server: TCPServer? = try listening()
      weak let watched = server
      do {
        let bound = LoopBound(try #require(server))
        let serving = start { try await bound.value.serve(shutdown: shutdown) { _ in } }
        await turns(3)
        bound.value.close()
        #expect(try await serving.value.numbers == [0, 0, 0, 0])
      }
      server = nil
      await turns(3)
      #expect(watched == nil)
      #expect(!shutdown.hasBegun)
    }
  }

  @Test("Clients for whom there was no time are closed, not forgotten")
  func noTime() async throws {
    try await onLoop { base in
      let server = try listening()
      let shutdown = GracefulShutdown()
      let bound = LoopBound(server)
      let serving = start {
        try await bound.value.serve(maxConnections: 1, shutdown: shutdown) { _ in
          try await base.sleep(for: .seconds(1000))
        }
      }
      let clients = (0..<5).compactMap { _ in PlainClient(to: server) }
      try await until { server.statistics.delivered == 1 }
      shutdown.begin(timeout: .milliseconds(20))
      #expect(try await serving.value.served == 1)
      #expect(clients.allSatisfy { $0.nextInput() != .nothing })
      #expect(server.statistics.discardedOnClose == 4)
      expectBalanced(server)
    }
  }

  @Test("One shutdown ends several servers, from another thread; a late one ends a server at its start")
  func several() async throws {
    try await onLoop { _ in
      let shutdown = GracefulShutdown()
      #expect(!shutdown.hasBegun)
      let servings = try (0..<3).map { _ in
        let bound = LoopBound(try listening())
        return start { try await bound.value.serve(shutdown: shutdown) { _ in } }
      }
      await turns(3)
      OtherThread { shutdown.begin(timeout: .seconds(60)) }.join()
      for serving in servings { #expect(try await serving.value.numbers == [0, 0, 0, 0]) }
      #expect(shutdown.hasBegun)
      let late = try listening()
      #expect(try await late.serve(shutdown: shutdown) { _ in }.numbers == [0, 0, 0, 0])
      #expect(!late.isListening)
    }
  }

  enum Way: CaseIterable {
    case directly, adopted, throughProxy
  }

  @Test(
    "A server that listens again after a shutdown lets connections wait between two messages again",
    arguments: Way.allCases
  )
  func waitsBetweenMessagesAgain(_ way: Way) async throws {
    try await onLoop { base in
      let server = try listening(on: base)
      let shutdown = GracefulShutdown()
      shutdown.begin()
      _ = try await server.serve(shutdown: shutdown) { _ in }
      let proxy = ScriptedProxy(ScriptedProxy.binds(), [.expect([5, 1, 0])])
      switch way {
      case .directly: try #require(server.listen(address: .localHost))
      case .adopted: try #require(server.setSocketDescriptor(Descriptors.listening()))
      case .throughProxy:
        server.proxy = proxy.proxy
        try await server.startListening()
      }
      let client = try #require(way == .throughProxy ? proxy.takeControl() : PlainClient(to: server))
      if way == .throughProxy { client.send(ScriptedProxy.reply()) }
      let socket = try #require(try await server.accept())
      let waiting = start { try await socket.waitForMessage() }
      await turns()
      client.send("x")
      #expect(try await waiting.value)
      server.close()
    }
  }
}
