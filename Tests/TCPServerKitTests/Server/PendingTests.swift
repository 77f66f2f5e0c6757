// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What is pending, and who is notified of it.
@Suite("Pending connections and waits for them", .timeLimit(.minutes(5)))
struct PendingTests {
  private func waits(_ server: TCPServer, msec: Int = 20) -> (isPending: Bool, timedOut: Bool?) {
    var timedOut = false
    let isPending = server.waitForNewConnection(msec: msec, timedOut: &timedOut)
    return (isPending, timedOut)
  }

  @Test("A connection that a handler or an override has taken is none to wait for", arguments: [true, false])
  func taken(byHandler: Bool) throws {
    let fixture = try OverridingFixture()
    var kept: [TCPSocket] = []
    if byHandler {
      fixture.server.newConnection.connect { [unowned server = fixture.server] in
        if let socket = server.nextPendingConnection() { kept.append(socket) }
      }
    } else {
      fixture.server.onIncoming = { _, descriptor in
        let socket = TCPSocket()
        if socket.setSocketDescriptor(descriptor) { kept.append(socket) }
      }
    }
    let client = try fixture.connect()
    let waited = waits(fixture.server)
    #expect(!waited.isPending)
    #expect(waited.timedOut == true)
    #expect(fixture.server.serverError == .socketTimeout)
    #expect(kept.count == 1)
    client.end()
  }

  @Test("What is pending is there whether or not the server listens")
  func notListening() throws {
    let server = TCPServer(eventBase: nil)
    #expect(!server.waitForNewConnection(msec: 20))
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    server.finish()
    #expect(!server.isListening)
    #expect(server.waitForNewConnection(msec: 20))
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    #expect(!server.waitForNewConnection(msec: 20))

    let (socket, peer) = try connectedPair(nil)
    let other = TCPServer(eventBase: nil)
    other.addPendingConnection(socket)
    #expect(other.waitForNewConnection(msec: 20))
    #expect(other.nextPendingConnection() === socket)
    peer.end()
  }

  @Test("A pause does not outlive its listening")
  func pause() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
    server.pauseAccepting()
    server.close()
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    client.end()
  }

  @Test("pendingConnectionAvailable comes before newConnection, and only for what is pending")
  func pendingConnectionAvailable() throws {
    let loop = try Loop()
    for server in [TCPServer(eventBase: loop.base), OverridingServer(eventBase: loop.base)] {
      var told: [String] = []
      server.pendingConnectionAvailable.connect { told.append("available") }
      server.newConnection.connect { told.append("new") }
      try #require(server.listen(address: .localHost))
      let client = try #require(PlainClient(to: server))
      #expect(loop.run { told.count == 2 })
      #expect(told == ["available", "new"])
      if let server = server as? OverridingServer {
        server.onIncoming = { _, descriptor in close(descriptor) }
        let another = try #require(PlainClient(to: server))
        #expect(loop.run { told.count == 3 })
        #expect(told.last == "new")
        another.end()
      }
      server.addPendingConnection(try connectedPair(loop.base).socket)
      #expect(told.last == "available")
      client.end()
    }
  }

  // MARK: - Overrides

  private final class OwnQueue: TCPServer, @unchecked Sendable {
    var alwaysPending = false
    var hidden: TCPSocket?

    override var hasPendingConnections: Bool {
      alwaysPending || super.hasPendingConnections
    }

    override func nextPendingConnection() -> TCPSocket? {
      exchangeHidden() ?? super.nextPendingConnection()
    }

    private func exchangeHidden() -> TCPSocket? {
      defer { hidden = nil }
      return hidden
    }
  }

  @Test("An overridden hasPendingConnections that stays true holds nothing up", arguments: [0, 1, 2])
  func alwaysPending(consumer: Int) async throws {
    try await onLoop { base in
      let server = OwnQueue()
      server.alwaysPending = true
      try #require(server.listen(address: .localHost))
      let bound = LoopBound(server)
      let consuming = start {
        switch consumer {
        case 0: _ = try await bound.value.accept()
        case 1: for try await _ in bound.value.incomingConnections { break }
        default: _ = try await bound.value.serve { _ in bound.value.close() }
        }
      }
      try await base.sleep(for: .milliseconds(5))
      let client = try #require(PlainClient(to: server))
      client.endWriting()
      try await consuming.value
    }
  }

  @Test("The sequence of connections takes them as an overridden nextPendingConnection() gives them")
  func overriddenNext() async throws {
    try await onLoop { _ in
      let server = OwnQueue()
      try #require(server.listen(address: .localHost))
      let pair = try await Pair()
      server.hidden = pair.socket
      server.alwaysPending = true
      for try await connection in server.incomingConnections {
        #expect(connection.peerPort == pair.client.port)
        break
      }
    }
  }

  @Test(
    "The sequence of connections takes sockets that were added, with their peers, and their places count on"
  )
  func addedSocketInSequence() async throws {
    try await onLoop { base in
      let server = try listening(on: base)
      let (added, peer) = try connectedPair(base)
      server.addPendingConnection(added)
      var iterator = server.incomingConnections.makeAsyncIterator()
      let connection = try #require(try await iterator.next())
      #expect(added.state == .unconnected, "the connection has left it")
      #expect(connection.peerAddress == .localHost)
      #expect(connection.peerPort == peer.port)
      #expect(server.statistics.live == 1)
      let socket = try connection.socket(on: base)
      peer.send("x")
      #expect(try await socket.read(exactly: 1) == Array("x".utf8))
      socket.abort()
      #expect(server.statistics.live == 0)
      expectBalanced(server)
    }
  }
}
