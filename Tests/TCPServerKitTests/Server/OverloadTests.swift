// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Servers that lack descriptors, on a clock that is stopped: what goes on does so without a timer.
@Suite("Overload", .blocking)
final class OverloadTests {
  private let loop: Loop
  private let server: TCPServer

  init() throws {
    loop = try Loop()
    server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
  }

  deinit {
    fault_clear()
    fault_reset_clock()
  }

  /// Handles what is there; with a wait, the loop would wait for its clock.
  private func turn() {
    for _ in 0..<10 { loop.base.runOnce(timeout: .zero) }
  }

  /// Lets the next attempt of each server fail, with a client waiting.
  private func starve(_ servers: [TCPServer], _ errnum: CInt = EMFILE) throws -> [PlainClient] {
    var told = 0
    for server in servers { server.acceptError.connect { _ in told += 1 } }
    fault_stop_clock()
    fault_fail(FAULT_ACCEPT4, 1, CInt(servers.count), errnum)
    let clients = try servers.map { try #require(PlainClient(to: $0)) }
    turn()
    #expect(told == servers.count)
    #expect(servers.allSatisfy { !$0.hasPendingConnections })
    return clients
  }

  enum End: CaseIterable {
    case abort, disconnect, release, client
  }

  @Test(
    "A socket of the loop that closes its descriptor lets accepting go on at once",
    arguments: End.allCases
  )
  func socketCloses(_ end: End) throws {
    var sockets = try {
      let pair = try connectedSockets(loop.base)
      return [pair.accepted, pair.client]
    }()
    let clients = try starve([server])
    switch end {
    case .abort: sockets[0].abort()
    case .client: sockets[1].abort()
    case .disconnect:
      sockets[1].disconnectFromHost()
      sockets[0].disconnectFromHost()
    case .release: sockets.removeAll()
    }
    turn()
    #expect(server.hasPendingConnections)
    #expect(server.nextPendingConnection()?.peerPort == clients[0].port)
    expectBalanced(server)
  }

  @Test(
    "So does a connection of the server's own, whatever was lacking",
    arguments: [EMFILE, ENFILE, ENOBUFS, ENOMEM]
  )
  func ownCloses(_ errnum: CInt) throws {
    let first = try #require(PlainClient(to: server))
    let socket = try acceptedSocket(of: server)
    let clients = try starve([server], errnum)
    socket.abort()
    turn()
    #expect(server.nextPendingConnection()?.peerPort == clients[0].port)
    withExtendedLifetime(first) {}
    expectBalanced(server)
  }

  @Test("Every server of the loop is notified, each time until it has accepted")
  func several() throws {
    let servers = try (0..<3).map { _ in
      let server = TCPServer(eventBase: loop.base)
      try #require(server.listen(address: .localHost))
      return server
    }
    let pairs = try (0..<2).map { _ in try connectedPair(loop.base) }
    let clients = try starve(servers)
    fault_fail(FAULT_ACCEPT4, 1, 3, EMFILE)
    pairs[0].socket.abort()
    turn()
    #expect(servers.allSatisfy { !$0.hasPendingConnections })
    pairs[1].socket.abort()
    turn()
    #expect(servers.allSatisfy { $0.hasPendingConnections })
    withExtendedLifetime(clients) {}
    servers.forEach { expectBalanced($0) }
  }

  @Test("A socket that another thread releases while the loop runs frees its descriptor for the server, too")
  func releasedElsewhere() throws {
    let kept = Locked<TCPSocket?>(nil)
    let peer: PlainClient
    do {
      let pair = try connectedPair(loop.base)
      kept.withLock { $0 = pair.socket }
      peer = pair.peer
    }
    let clients = try starve([server])
    loop.base.execute { OtherThread { kept.withLock { $0 = nil } }.join() }
    turn()
    #expect(server.hasPendingConnections)
    withExtendedLifetime((clients, peer)) {}
    expectBalanced(server)
  }

  @Test("A server that is released meanwhile does not take the others' turn with it")
  func releasedAmongOthers() throws {
    var other: TCPServer? = TCPServer(eventBase: loop.base)
    try #require(other?.listen(address: .localHost) == true)
    let pair = try connectedPair(loop.base)
    let clients = try starve([server, other].compactMap { $0 })
    other = nil
    pair.socket.abort()
    turn()
    #expect(server.hasPendingConnections)
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  @Test("Without a notice the back-off ends by itself; closed meanwhile, a server is left alone")
  func byItself() throws {
    let clients = try starve([server])
    fault_advance_clock(1000)
    turn()
    #expect(server.nextPendingConnection()?.peerPort == clients[0].port)
    let more = try starve([server])
    server.close()
    let pair = try connectedSockets(loop.base)
    pair.accepted.abort()
    pair.client.abort()
    #expect(server.statistics.overloadPauses == 2)
    #expect(server.statistics.overloadTime == .milliseconds(1000))
    withExtendedLifetime((clients, more)) {}
    expectBalanced(server)
  }

  @Test("Shedding turns clients away, and says so")
  func shedding() throws {
    var rejected: [RejectedConnection] = []
    server.connectionRejected.connect { rejected.append($0) }
    server.overloadPolicy = .shed
    #expect(server.overloadPolicy == .shed)
    fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE)
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { rejected.count == 1 })
    #expect(rejected.first?.reason == .overload)
    #expect(rejected.first?.peerPort == client.port)
    #expect(client.nextInput() == .end)
    #expect(server.statistics.shed == 1)
    #expect(server.statistics.live == 0)
    expectBalanced(server)
  }

  @Test("Policy and reserve are what was set")
  func settings() {
    #expect(server.overloadPolicy == .wait)
    for policy in [OverloadPolicy.strict, .shed, .wait] {
      server.overloadPolicy = policy
      #expect(server.overloadPolicy == policy)
    }
    #expect(server.descriptorReserve == 32)
    server.descriptorReserve = 7
    #expect(server.descriptorReserve == 7)
    #expect(server.descriptorHeadroom > 0)
  }
}
