// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Where a program may be called by a server.
enum Handler: String, CaseIterable {
  case newConnection
  case incomingConnection
  case acceptError
}

/// A loop and a server with no other reference to them, so that a handler can release both.
private final class Arena {
  var base: EventBase?
  var server: OverridingServer?
  var calls = 0

  init(_ handler: Handler, _ action: @escaping (Arena) -> Void) throws {
    let base = try EventBase()
    let server = OverridingServer(eventBase: base)
    self.base = base
    self.server = server
    let call = { [unowned self] in
      calls += 1
      if calls == 1 { action(self) }
    }
    switch handler {
    case .newConnection: server.newConnection.connect(call)
    case .acceptError: server.acceptError.connect { _ in call() }
    case .incomingConnection:
      server.onIncoming = { server, descriptor in
        call()
        server.takeDefault(descriptor)
      }
    }
    try #require(server.listen(address: .localHost), "\(server.errorString)")
    if handler == .acceptError {
      fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE)
    }
  }

  deinit {
    fault_clear()
  }

  /// Turns the loop, if there still is one, until `condition` holds.
  func turn(until condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now + Loop.limit
    while !condition() {
      guard ContinuousClock.now < deadline else { return false }
      base?.runOnce(timeout: .milliseconds(100))
    }
    return true
  }

  func settle() {
    for _ in 0..<5 {
      base?.runOnce(timeout: .zero)
    }
  }
}

@Suite("Calls from within handlers", .blocking)
struct ReentrancyTests {
  @Test(
    "A loop and a server released in a handler are gone when it has returned",
    arguments: Handler.allCases
  )
  func released(in handler: Handler) throws {
    weak var base: EventBase?
    weak var server: TCPServer?
    let arena = try Arena(handler) { arena in
      arena.server = nil
      arena.base = nil
    }
    base = arena.base
    server = arena.server
    let listening = OpenFile(arena.server?.socketDescriptor ?? -1)
    let client = arena.server.flatMap { PlainClient(to: $0) }
    #expect(client != nil)
    #expect(arena.turn { arena.calls > 0 })
    #expect(base == nil)
    #expect(server == nil)
    #expect(listening?.isOpen == false)
    // Never taken, so it ends with its server.
    #expect([.end, .failed(ECONNRESET)].contains(client?.nextInput()))
  }

  @Test("A connection taken before close() in the same handler stays usable")
  func takenThenClosed() throws {
    var taken: TCPSocket?
    let arena = try Arena(.newConnection) { arena in
      taken = arena.server?.nextPendingConnection()
      arena.server?.close()
    }
    let server = try #require(arena.server)
    let clients = (0..<2).compactMap { _ in PlainClient(to: server) }
    #expect(arena.turn { taken != nil })
    arena.settle()
    taken?.write("still here")
    #expect(clients.first?.nextInput() == .bytes(Array("still here".utf8)))
    #expect(clients.last?.nextInput() == .failed(ECONNRESET))
    expectBalanced(server)
  }

  @Test("close() and listen() in a handler: the clients of the old socket are reset, the new one serves")
  func listeningAnew() throws {
    let arena = try Arena(.newConnection) { arena in
      arena.server?.close()
      arena.server?.listen(address: .localHost)
    }
    let server = try #require(arena.server)
    let old = (0..<2).compactMap { _ in PlainClient(to: server) }
    #expect(arena.turn { arena.calls > 0 })
    let new = try #require(PlainClient(to: server))
    #expect(arena.turn { server.hasPendingConnections })
    #expect(arena.calls == 2)
    #expect(server.nextPendingConnection()?.peerPort == new.port)
    #expect(old.map { $0.nextInput() } == [.end, .failed(ECONNRESET)])
    #expect(server.statistics.discardedOnClose == 1)
    expectBalanced(server)
  }

  @Test("maxPendingConnections lowered in newConnection ends the batch at once")
  func loweringTheLimit() throws {
    let arena = try Arena(.newConnection) { arena in arena.server?.maxPendingConnections = 1 }
    let server = try #require(arena.server)
    let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
    #expect(arena.turn { arena.calls > 0 })
    arena.settle()
    #expect(arena.calls == 1)
    #expect(server.statistics.pending == 1)
    #expect(server.statistics.acceptQueue == 2)
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  @Test(
    "Waits within newConnection nest 16 deep, then refuse; every connection is announced once",
    arguments: [true, false]
  )
  func nestedWaits(withLoop: Bool) throws {
    let server = TCPServer(eventBase: withLoop ? try EventBase() : nil)
    var ports: [UInt16] = []
    var deepest = 0
    var depth = 0
    var refused = false
    server.newConnection.connect {
      depth += 1
      deepest = max(deepest, depth)
      ports += server.nextPendingConnection().map { [$0.peerPort] } ?? []
      if !server.waitForNewConnection() { refused = refused || server.serverError == .operation }
      depth -= 1
    }
    try #require(server.listen(address: .localHost))
    let clients = (0..<40).compactMap { _ in PlainClient(to: server) }
    #expect(!server.waitForNewConnection(msec: 200), "the handler takes them all")
    #expect(deepest == 16)
    #expect(refused)
    #expect(ports == clients.map(\.port))
    expectBalanced(server)
  }

  @Test("acceptBatchSize bounds what one turn of the loop accepts, and the rest follows by itself")
  func batch() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.acceptBatchSize = 2
    var announced = 0
    server.newConnection.connect { announced += 1 }
    try #require(server.listen(address: .localHost))
    let clients = (0..<5).compactMap { _ in PlainClient(to: server) }
    loop.base.runOnce(timeout: .seconds(5))
    #expect(announced == 2)
    #expect(loop.run { announced == clients.count })
    expectBalanced(server)
  }
}
