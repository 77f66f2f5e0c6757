// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import Testing

@testable import TCPServerKit

/// What one source may take, and that each connection gives its place back once.
@Suite("Limits for one source", .blocking)
struct SourceLimitTests {
  private let loop: Loop
  private let server: OverridingServer

  init() throws {
    let fixture = try OverridingFixture()
    (loop, server) = (fixture.loop, fixture.server)
  }

  private func connect(from address: String = "127.0.0.1") throws -> PlainClient {
    try #require(PlainClient("127.0.0.1", port: server.serverPort, from: address))
  }

  private func take() throws -> TCPSocket {
    #expect(loop.run { server.hasPendingConnections })
    return try #require(server.nextPendingConnection())
  }

  private var sourcesInUse: Int {
    server.serverCore.limiting.sources?.sourcesInUse ?? 0
  }

  @Test("A source beyond its limit is rejected, and another is served", arguments: [false, true])
  func limits(resets: Bool) throws {
    #expect(server.sourceLimits == nil)
    let limits = SourceLimits(maxConnections: 1, resetsClients: resets)
    server.sourceLimits = limits
    #expect(server.sourceLimits == limits)
    var rejected: [RejectedConnection] = []
    server.connectionRejected.connect { rejected.append($0) }
    let first = try connect(from: "127.0.0.5")
    let beyond = try connect(from: "127.0.0.5")
    let other = try connect(from: "127.0.0.6")
    let sockets = [try take(), try take()]
    #expect(sockets.map(\.peerPort) == [first.port, other.port])
    #expect(rejected.map(\.reason) == [.sourceLimit])
    #expect(rejected.first?.peerPort == beyond.port)
    #expect(beyond.nextInput() == (resets ? .failed(ECONNRESET) : .end))
    #expect(server.statistics.rejectedBySourceLimit == 1)
    #expect(sourcesInUse == 2)
    for socket in sockets { socket.abort() }
    #expect(sourcesInUse == 0)
    expectBalanced(server)
  }

  @Test("A source that connects too fast is rejected until its time has come")
  func rate() throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    server.sourceLimits = SourceLimits(acceptsPerSecond: 1, burst: 1)
    var rejected: [RejectedConnection] = []
    server.connectionRejected.connect { rejected.append($0) }
    let clients = [try connect(), try connect()]
    let socket = try take()
    #expect(loop.run { rejected.count == 1 })
    #expect(rejected.first?.reason == .sourceRate)
    #expect(server.statistics.rejectedBySourceRate == 1)
    socket.abort()
    fault_advance_clock(1000)
    let late = try connect()
    #expect(try take().peerPort == late.port)
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  enum End: CaseIterable {
    case abort, release, detach, permit, peer, added, incoming, incomingPermit, elsewhere
  }

  @Test("However a connection ends, its source has its place again", arguments: End.allCases)
  func ends(_ end: End) throws {
    server.sourceLimits = SourceLimits(maxConnections: 1)
    let client = try connect()
    if end == .incoming || end == .incomingPermit || end == .elsewhere {
      #expect(loop.run { server.hasPendingConnections })
      let connection = try #require(server.takePending())
      switch end {
      case .incoming: close(connection.takeDescriptor())
      case .incomingPermit:
        let permit = try #require(connection.takePermit())
        close(connection.takeDescriptor())
        #expect(sourcesInUse == 1)
        permit.release()
        permit.release()
      default:
        OtherThread { try? connection.socket(on: nil).abort() }.join()
        #expect(loop.run { sourcesInUse == 0 })
      }
    } else {
      var socket: TCPSocket? = try take()
      #expect(sourcesInUse == 1)
      switch end {
      case .abort: socket?.abort()
      case .detach: close(socket?.detach() ?? -1)
      case .permit:
        let permit = try #require(socket?.takePermit())
        close(socket?.detach() ?? -1)
        #expect(sourcesInUse == 1)
        permit.release()  // as any thread may: its loop counts it
      case .peer:
        socket?.readyRead.connect {}
        client.end()
        #expect(loop.run { socket?.state == .unconnected })
      case .added:
        if let socket { server.addPendingConnection(socket) }
        #expect(server.nextPendingConnection() === socket)
        #expect(sourcesInUse == 1, "it is the same connection")
        socket?.abort()
      default: break
      }
      socket = nil
    }
    #expect(loop.run { sourcesInUse == 0 })
    #expect(server.statistics.live == 0)
    expectBalanced(server)
  }

  enum Use: CaseIterable {
    case adopted, added, passedOn, permit, forgotten
  }

  @Test("So has that of a connection that incomingConnection(_:) takes", arguments: Use.allCases)
  func overriding(_ use: Use) throws {
    server.sourceLimits = SourceLimits(maxConnections: 1)
    var socket: TCPSocket?
    var bare: CInt = -1
    var permit: ConnectionPermit?
    server.onIncoming = { server, descriptor in
      switch use {
      case .adopted, .added:
        let own = TCPSocket(eventBase: server.eventBase)
        #expect(own.setSocketDescriptor(descriptor))
        if use == .added { server.addPendingConnection(own) }
        socket = own
      case .passedOn: server.takeDefault(descriptor)
      case .permit:
        permit = server.takeIncomingPermit()
        bare = descriptor
      case .forgotten: bare = descriptor
      }
    }
    let client = try connect()
    #expect(loop.run { server.statistics.accepted == 1 })
    if use == .passedOn { socket = try take() }
    #expect(sourcesInUse == (use == .forgotten ? 0 : 1))
    if use == .added { #expect(server.nextPendingConnection() === socket) }
    socket?.abort()
    permit?.release()
    if bare >= 0 { close(bare) }
    #expect(loop.run { sourcesInUse == 0 })
    withExtendedLifetime(client) {}
    expectBalanced(server)
  }

  @Test("A socket whose last reference goes on another thread gives its place back on its loop")
  func releasedElsewhere() throws {
    server.sourceLimits = SourceLimits(maxConnections: 1)
    let client = try connect()
    let box = Locked<TCPSocket?>(try take())
    OtherThread { box.withLock { $0 = nil } }.join()
    #expect(loop.run { sourcesInUse == 0 })
    withExtendedLifetime(client) {}
    expectBalanced(server)
  }

  @Test("The numbers change at any time, another table needs a server without connections")
  func changes() throws {
    server.sourceLimits = SourceLimits(maxConnections: 1)
    let clients = [try connect(), try connect()]
    let first = try take()
    server.sourceLimits?.maxConnections = 2
    let third = try connect()
    #expect(try take().peerPort == third.port)
    server.sourceLimits?.ipv4Prefix = 24
    #expect(server.sourceLimits?.ipv4Prefix == 32)
    #expect(server.serverError == .operation)
    #expect(server.errorString == "The connections of the server count in another table of sources")
    server.sourceLimits = nil  // what counts still does
    #expect(server.sourceLimits == nil)
    let fourth = try connect()
    #expect(try take().peerPort == fourth.port)
    #expect(sourcesInUse == 1)
    first.abort()
    #expect(sourcesInUse == 0)
    server.sourceLimits = SourceLimits(maxConnections: 1, ipv4Prefix: 24, tableSize: 64)
    #expect(server.sourceLimits?.ipv4Prefix == 24)
    server.sourceLimits = nil
    #expect(sourcesInUse == 0)
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  @Test("Without memory the limits stay what they were")
  func memory() throws {
    fault_fail(FAULT_GETRANDOM, 1, 1, ENOSYS)
    server.sourceLimits = SourceLimits(maxConnections: 1)
    fault_clear()
    #expect(server.sourceLimits == nil)
    #expect(server.serverError == .socketResource)
  }

  @Test("The server says what its limits are")
  func diagnosis() throws {
    server.sourceLimits = SourceLimits(maxConnections: 3, acceptsPerSecond: 5, ipv6Prefix: 48, tableSize: 64)
    server.acceptRate = AcceptRate(acceptsPerSecond: 100, burst: 20)
    let clients = try (0..<4).map { _ in try connect() }
    #expect(loop.run { server.statistics.rejectedBySourceLimit == 1 })
    #expect(
      server.diagnose().lines.contains(
        "sources: 1 of 64 places in use; for each (IPv4 /32, IPv6 /48): 3 connections and 5 accepts a second"
      )
    )
    #expect(server.diagnose().lines.contains("accept rate: 100 a second, 20 at once"))
    server.sourceLimits = SourceLimits(ipv6Prefix: 48, tableSize: 64)
    #expect(server.diagnose().lines.contains { $0.hasSuffix(": nothing is limited") })
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  // MARK: - The rate of all

  @Test("Accepting pauses at its rate, and clients wait in the kernel's queue")
  func acceptRate() throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    #expect(server.acceptRate == nil)
    server.acceptRate = AcceptRate(acceptsPerSecond: 10, burst: 2)
    #expect(server.acceptRate == AcceptRate(acceptsPerSecond: 10, burst: 2))
    let clients = try (0..<5).map { _ in try connect() }
    let sockets = [try take(), try take()]
    #expect(loop.run { server.statistics.ratePauses == 1 })
    #expect(server.statistics.acceptQueue == 3)
    fault_advance_clock(101)
    let third = try take()
    #expect(server.statistics.acceptQueue == 2)
    server.acceptRate = AcceptRate(acceptsPerSecond: 1000)
    fault_advance_clock(2)
    let fourth = try take()
    server.acceptRate = nil
    #expect(server.acceptRate == nil)
    let fifth = try take()
    withExtendedLifetime((clients, sockets, third, fourth, fifth)) {}
    expectBalanced(server)
  }
}
