// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Who is let in, and what becomes of the others.
@Suite("Admission", .blocking)
struct AdmissionTests {
  private let loop: Loop
  private let server: TCPServer

  init() throws {
    loop = try Loop()
    server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
  }

  @Test("A client is admitted, refused or reset, by its address and port")
  func outcomes() throws {
    var asked: [(HostAddress, UInt16)] = []
    var rejected: [RejectedConnection] = []
    var answers: [Admission] = [.admit, .close, .reset]
    server.admissionHandler = { address, port in
      asked.append((address, port))
      return answers.removeFirst()
    }
    server.connectionRejected.connect { rejected.append($0) }
    let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
    #expect(loop.run { asked.count == 3 })
    #expect(asked.map(\.0) == [.localHost, .localHost, .localHost])
    #expect(asked.map(\.1) == clients.map(\.port))
    #expect(server.nextPendingConnection()?.peerPort == clients[0].port)
    #expect(server.nextPendingConnection() == nil)
    #expect(rejected.map(\.reason) == [.admission, .admission])
    #expect(rejected.map(\.peerPort) == clients.dropFirst().map(\.port))
    #expect(rejected.map(\.localPort) == [server.serverPort, server.serverPort])
    #expect(clients[1].nextInput() == .end)
    #expect(clients[2].nextInput() == .failed(ECONNRESET))
    #expect(server.statistics.rejectedByAdmission == 2)
    #expect(server.statistics.live == 0)

    server.admissionHandler = nil
    let late = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    #expect(asked.count == 3)
    withExtendedLifetime(late) {}
    expectBalanced(server)
  }

  @Test("It comes before incomingConnection(_:), and in a wait as well")
  func before() throws {
    let server = OverridingServer(eventBase: nil)
    var order: [String] = []
    server.admissionHandler = { _, _ in
      order.append("admission")
      return order.count == 1 ? .close : .admit
    }
    server.onIncoming = { server, descriptor in
      order.append("incoming")
      server.takeDefault(descriptor)
    }
    try #require(server.listen(address: .localHost))
    let clients = (0..<2).compactMap { _ in PlainClient(to: server) }
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(order == ["admission", "admission", "incoming"])
    withExtendedLifetime(clients) {}
    expectBalanced(server)
  }

  enum Call: CaseIterable {
    case close, finish, listenAnew, setAnother, release
  }

  @Test("It may call anything", arguments: Call.allCases, [Admission.admit, .reset])
  func calls(_ call: Call, _ answer: Admission) throws {
    var server: TCPServer? = TCPServer(eventBase: loop.base)
    weak let released = server
    var count = 0
    try #require(server?.listen(address: .localHost) == true)
    server?.admissionHandler = { _, _ in
      count += 1
      guard count == 1 else { return .admit }
      switch call {
      case .close: server?.close()
      case .finish: server?.finish()
      case .listenAnew:
        server?.close()
        #expect(server?.listen(address: .localHost) == true)
      case .setAnother: server?.admissionHandler = { _, _ in .admit }
      case .release: server = nil
      }
      return answer
    }
    let clients = server.map { server in (0..<2).compactMap { _ in PlainClient(to: server) } } ?? []
    #expect(loop.run { count > 0 })
    loop.settle()
    if call == .release {
      #expect(released == nil)
    } else {
      let admitted: UInt64 =
        switch call {
        case .close, .listenAnew: 0
        case .finish, .setAnother: answer == .admit ? 2 : 1
        case .release: 0
        }
      #expect(server?.statistics.pending == admitted)
      server.map { expectBalanced($0) }
    }
    server?.admissionHandler = nil
    withExtendedLifetime(clients) {}
  }
}
