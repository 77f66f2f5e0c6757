// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Waiting until no connection is left", .timeLimit(.minutes(5)))
struct ConnectionsEndedTests {
  /// A server on the loop, its clients, and what they have become in it.
  private struct Scene: @unchecked Sendable {
    let server: TCPServer
    let clients: [PlainClient]
    private let taken: Taken

    private final class Taken {
      var sockets: [TCPSocket] = []
    }

    init(_ count: Int) async throws {
      server = try listening()
      taken = Taken()
      let server = server
      clients = try (0..<count).map { _ in try #require(PlainClient(to: server)) }
      for _ in 0..<count { taken.sockets.append(try #require(await server.accept())) }
    }

    func endLast() {
      taken.sockets.removeLast().abort()
    }
  }

  @Test("Returns true when the last has ended, to all who wait, and not before")
  func waits() async throws {
    try await onLoop { _ in
      let scene = try await Scene(3)
      let waiting = (0..<2).map { _ in
        start { (try await scene.server.waitUntilConnectionsEnded(), scene.server.statistics.live) }
      }
      scene.server.close()
      for left in [2, 1] as [UInt64] {
        scene.endLast()
        await turns()
        #expect(scene.server.statistics.live == left)
      }
      scene.endLast()
      for task in waiting { #expect(try await task.value == (true, 0)) }
    }
  }

  @Test("With no connection it returns at once, cancelled or not")
  func nothingLeft() async throws {
    try await onLoop { base in
      let scene = try await Scene(0)
      let jobs = base.statistics.jobs
      #expect(try await scene.server.waitUntilConnectionsEnded())
      #expect(base.statistics.jobs == jobs)
      let cancelled = start {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        return try await scene.server.waitUntilConnectionsEnded()
      }
      #expect(try await cancelled.value)
    }
  }

  @Test(
    "A timeout ends it, and not the connections",
    arguments: [.milliseconds(20), .zero, .seconds(-1)] as [Duration]
  )
  func timeout(_ timeout: Duration) async throws {
    try await onLoop { _ in
      let scene = try await Scene(1)
      #expect(try await !scene.server.waitUntilConnectionsEnded(timeout: timeout))
      #expect(scene.server.statistics.live == 1)
      #expect(scene.clients[0].input() == .nothing)
      scene.endLast()
      #expect(try await scene.server.waitUntilConnectionsEnded(timeout: timeout))
    }
  }

  @Test("Cancelled, it throws, and nothing happens to the connections", arguments: [false, true])
  func cancelled(before: Bool) async throws {
    try await onLoop { _ in
      let scene = try await Scene(1)
      let waiting = start {
        if before { unsafe withUnsafeCurrentTask { unsafe $0?.cancel() } }
        _ = try await scene.server.waitUntilConnectionsEnded()
      }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      #expect(scene.server.statistics.live == 1)
    }
  }

  @Test("Pending connections count, until close() discards them")
  func pending() async throws {
    try await onLoop { _ in
      let scene = try await Scene(1)
      let late = try #require(PlainClient(to: scene.server))
      scene.server.finish()
      #expect(scene.server.statistics.pending == 1)
      scene.endLast()
      #expect(try await !scene.server.waitUntilConnectionsEnded(timeout: .zero))
      let waiting = start { try await scene.server.waitUntilConnectionsEnded() }
      scene.server.close()
      #expect(try await waiting.value)
      #expect(late.nextInput() == .end)
    }
  }

  @Test("A connection that comes as the last one ends is waited for as well")
  func another() async throws {
    try await onLoop { _ in
      let scene = try await Scene(1)
      let waiting = start { try await scene.server.waitUntilConnectionsEnded() }
      scene.endLast()
      // The task was woken, and has not gone on yet.
      let late = try #require(PlainClient(to: scene.server))
      #expect(scene.server.waitForNewConnectionBlocking())
      let socket = try #require(scene.server.nextPendingConnection())
      await turns()
      scene.server.close()
      let alsoWaiting = start { try await scene.server.waitUntilConnectionsEnded(timeout: .zero) }
      #expect(try await !alsoWaiting.value)
      socket.abort()
      #expect(try await waiting.value)
      #expect(late.nextInput() == .failed(ECONNRESET))
    }
  }

  @Test("Descriptors that were given away do not count, those with a permit do until that is released")
  func bareDescriptors() async throws {
    try await onLoop { _ in
      let server = try listening()
      let clients = try (0..<2).map { _ in try #require(PlainClient(to: server)) }
      var connections = server.incomingConnections.makeAsyncIterator()
      close(try #require(await connections.next()).takeDescriptor())
      let connection = try #require(try await connections.next())
      let permit = try #require(connection.takePermit())
      let descriptor = connection.takeDescriptor()
      let bound = LoopBound(server)
      let waiting = start { try await bound.value.waitUntilConnectionsEnded() }
      await turns()
      #expect(server.statistics.live == 1)
      close(descriptor)
      OtherThread { permit.release() }.join()
      #expect(try await waiting.value)
      withExtendedLifetime(clients) {}
    }
  }

  @Test("Without an event base nothing can be waited for")
  func withoutLoop() async throws {
    let server = TCPServer(eventBase: nil)
    #expect(try await !server.waitUntilConnectionsEnded())
    #expect(server.serverError == .operation)
    #expect(server.errorString == withoutEventBase("waitUntilConnectionsEnded()"))
    #expect(runTheLoop(of: server) == false)
    #expect(server.errorString == withoutEventBase("runUntilConnectionsEnded()"))
  }
}
