// SPDX-License-Identifier: Apache-2.0

import Synchronization
import TCPServerKit
import Testing

/// waitForNewConnection(), which is a server's use without an event loop.
@Suite("Documentation: waiting", .blocking)
struct DocumentationWaitTests {
  private func makeServer(_ base: EventBase? = nil) throws -> TCPServer {
    let server = TCPServer(eventBase: base)
    try #require(server.listen(address: .localHost))
    return server
  }

  /// Connects a client from another thread once this one sleeps in the wait.
  private func connectWhileAsleep(_ server: TCPServer) -> OtherThread {
    let waiting = OtherThread.currentID
    let port = server.serverPort
    return OtherThread {
      _ = OtherThread.waitUntilAsleep(waiting)
      _ = PlainClient(port: port)
    }
  }

  @Test(
    "waitForNewConnection(): false when the time is over"
  )
  func atMost() throws {
    let server = try makeServer()
    let start = ContinuousClock.now
    #expect(!server.waitForNewConnection(msec: 30))
    #expect(ContinuousClock.now - start >= .milliseconds(29))
    expectBalanced(server)
  }

  @Test(
    "waitForNewConnection(): true when a client comes in time"
  )
  func untilConnection() throws {
    let server = try makeServer()
    let other = connectWhileAsleep(server)
    #expect(server.waitForNewConnection(msec: 60_000))
    other.join()
    #expect(server.hasPendingConnections)
    expectBalanced(server)
  }

  @Test("waitForNewConnection(): its result is hasPendingConnections")
  func result() throws {
    let server = try makeServer()
    #expect(!server.waitForNewConnection(msec: 1))
    let client = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    #expect(!server.waitForNewConnection(msec: 1))
    expectBalanced(server)
  }

  @Test("waitForNewConnection(int msec = 0, bool *timedOut = 0): by default it only looks")
  func defaults() throws {
    let server = try makeServer()
    #expect(!server.waitForNewConnection())
    #expect(server.serverError == .socketTimeout)
    let client = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection())
    client.end()
    expectBalanced(server)
  }

  @Test("waitForNewConnection(): timedOut says whether the time ran out")
  func timedOut() throws {
    let server = try makeServer()
    var timedOut = false
    #expect(!server.waitForNewConnection(msec: 1, timedOut: &timedOut))
    #expect(timedOut)
    let withoutPlace = server.waitForNewConnection(msec: 1, timedOut: nil)
    #expect(!withoutPlace)
    let client = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection(msec: 60_000, timedOut: &timedOut))
    #expect(!timedOut)
    client.end()
    expectBalanced(server)
  }

  @Test(
    "waitForNewConnection(): no other handler of the loop runs meanwhile"
  )
  func blocking() throws {
    let loop = try Loop()
    let server = try makeServer(loop.base)
    let ran = Atomic(false)
    loop.base.execute { ran.store(true, ordering: .relaxed) }
    #expect(!server.waitForNewConnection(msec: 5))
    let ranMeanwhile = ran.load(ordering: .relaxed)
    #expect(!ranMeanwhile)
    #expect(loop.run { ran.load(ordering: .relaxed) })
  }

  @Test(
    "waitForNewConnection(): emits newConnection as the loop does"
  )
  func emitsWithoutLoop() throws {
    let server = try makeServer()
    var emitted = 0
    server.newConnection.connect { emitted += 1 }
    let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(emitted == 3)
    for client in clients {
      #expect(server.nextPendingConnection()?.peerPort == client.port)
    }
    expectBalanced(server)
  }

  @Test("newConnection: the way without blocking")
  func nonBlocking() throws {
    let loop = try Loop()
    let server = try makeServer(loop.base)
    var peer: UInt16?
    server.newConnection.connect { peer = server.nextPendingConnection()?.peerPort }
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { peer == client.port })
    server.newConnection.disconnectAll()
    expectBalanced(server)
  }

  @Test("waitForNewConnection(): -1 waits without a limit")
  func unlimited() throws {
    let server = try makeServer()
    let other = connectWhileAsleep(server)
    var timedOut = true
    #expect(server.waitForNewConnection(msec: -1, timedOut: &timedOut))
    #expect(!timedOut)
    other.join()
    expectBalanced(server)
  }

  @Test("A wait accepts while accepting is paused, and the pause holds afterwards")
  func whilePaused() throws {
    let loop = try Loop()
    let server = try makeServer(loop.base)
    server.pauseAccepting()
    let first = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == first.port)
    let second = PlainClient(to: server)
    loop.settle(turns: 3)
    #expect(!server.hasPendingConnections)
    second?.end()
    expectBalanced(server)
  }
}
