// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// The cases of Qt's own test of QTcpServer that are about signals and their order.
@Suite("Qt's cases: signals", .blocking)
struct QtServerSignalCases {
  @Test("S17: readyRead comes for every arrival while nothing is read, and peek sees all of it")
  func peeking() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var peeked: [UInt8] = []
    server.newConnection.connect {
      let socket = server.nextPendingConnection()
      socket?.readyRead.connect { [weak socket] in
        peeked = socket?.peek(maxLength: 128 * 1024) ?? []
      }
    }
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    var sent: [UInt8] = []
    for text in ["abc\n", "def\n", "ghi\n"] {
      client.send(text)
      sent += Array(text.utf8)
      #expect(loop.run { peeked == sent })
    }
    expectBalanced(server)
  }

  @Test("S21: an empty queue does not stop accepting: the next client is announced as well")
  func emptyQueue() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var announced = 0
    server.newConnection.connect { announced += 1 }
    try #require(server.listen(address: .localHost))
    let first = try #require(PlainClient(to: server))
    #expect(loop.run { announced == 1 })
    loop.settle()
    first.end()
    let second = try #require(PlainClient(to: server))
    #expect(loop.run { announced == 2 })
    #expect(server.serverError == .unknown)
    second.end()
    expectBalanced(server)
  }

  @Test("S22: a server that never listened gives back the very socket that was added")
  func addingWhileNotListening() throws {
    let server = TCPServer(eventBase: try Loop().base)
    let socket = TCPSocket()
    server.addPendingConnection(socket)
    #expect(server.hasPendingConnections)
    #expect(server.nextPendingConnection() === socket)
    #expect(server.nextPendingConnection() == nil)
    expectBalanced(server)
  }

  @Test(
    "S23: pauseAccepting() stops the signal; resumeAccepting() brings all that came meanwhile in one turn"
  )
  func pausing() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var announced = 0
    server.newConnection.connect { announced += 1 }
    try #require(server.listen(address: .localHost))
    var clients = [PlainClient(to: server)]
    #expect(loop.run { announced == 1 })
    server.pauseAccepting()
    for _ in 0..<5 {
      clients.append(PlainClient(to: server))
    }
    #expect(clients.count { $0 != nil } == 6)
    loop.settle()
    #expect(announced == 1)
    server.resumeAccepting()
    loop.base.runOnce(timeout: .seconds(5))
    #expect(announced == 6)
    expectBalanced(server)
  }

  @Test("S24: newConnection comes when the base implementation has added the connection")
  func announcedOnceAdded() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var pendingWhenAnnounced: [UInt64] = []
    server.newConnection.connect { pendingWhenAnnounced.append(server.statistics.pending) }
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { !pendingWhenAnnounced.isEmpty })
    #expect(pendingWhenAnnounced == [1])
    client.end()
    expectBalanced(server)
  }

  @Test("S24: an override that stores the descriptor is announced with nothing pending, and may add it later")
  func addedLater() throws {
    let loop = try Loop()
    let server = OverridingServer(eventBase: loop.base)
    var stored: CInt = -1
    server.onIncoming = { _, descriptor in stored = descriptor }
    var announced = 0
    server.newConnection.connect { announced += 1 }
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { announced == 1 })
    #expect(!server.hasPendingConnections)
    expectBalanced(server)

    let socket = TCPSocket(eventBase: loop.base)
    #expect(socket.setSocketDescriptor(stored))
    server.addPendingConnection(socket)
    #expect(server.hasPendingConnections)
    #expect(announced == 1)
    let taken = try #require(server.nextPendingConnection())
    #expect(taken === socket)
    #expect(taken.peerPort == client.port)
    expectBalanced(server)
  }
}
