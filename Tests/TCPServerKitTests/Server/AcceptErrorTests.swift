// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// What `accept` can fail with, and what becomes of the server.
@Suite("Errors of accept", .blocking)
struct AcceptErrorTests {
  static let recovering = [
    ErrorRow("EMFILE", EMFILE, .socketResource, "Out of resources"),
    ErrorRow("ENFILE", ENFILE, .socketResource, "Out of resources"),
    ErrorRow("ENOBUFS", ENOBUFS, .socketResource, "Out of resources"),
    ErrorRow("ENOMEM", ENOMEM, .socketResource, "Out of resources"),
    ErrorRow("EACCES", EACCES, .socketAccess, "Permission denied"),
    ErrorRow("EPERM", EPERM, .socketAccess, "Permission denied"),
    ErrorRow("ENOSYS", ENOSYS, .unknown, "Unknown error"),
    ErrorRow("an errno nobody has heard of", 4000, .unknown, "Unknown error"),
  ]

  static let fatal = [
    ErrorRow("EBADF", EBADF, .unsupportedSocketOperation, "Invalid socket descriptor"),
    ErrorRow("ENOTSOCK", ENOTSOCK, .socketResource, "Operation on non-socket"),
    ErrorRow("EFAULT", EFAULT, .socketResource, "Operation on non-socket"),
    ErrorRow("EINVAL", EINVAL, .unsupportedSocketOperation, "Protocol type not supported"),
  ]

  private final class Fixture {
    let loop: Loop
    let server: TCPServer
    var told: [SocketError] = []

    init(withLoop: Bool = true) throws {
      loop = try Loop()
      server = TCPServer(eventBase: withLoop ? loop.base : nil)
      try #require(server.listen(address: .localHost))
      server.acceptError.connect { [unowned self] in told.append($0) }
    }

    deinit {
      fault_clear()
    }

    /// Plans failures; libevent follows a failed accept4() with accept() where that may be the one there is.
    func fail(_ errnum: CInt, times: CInt = 1) {
      fault_fail(FAULT_ACCEPT4, 1, times, errnum)
      fault_fail(FAULT_ACCEPT, 1, times, errnum)
    }

    func connect() throws -> PlainClient {
      try #require(PlainClient(to: server))
    }
  }

  @Test(
    "An error that passes pauses accepting, is reported once, and the client is served later",
    arguments: recovering
  )
  func recovers(_ row: ErrorRow) throws {
    let fixture = try Fixture()
    fixture.fail(row.errnum)
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    #expect(fixture.told == [row.error])
    #expect(fixture.server.serverError == row.error)
    #expect(fixture.server.errorString == row.text)
    #expect(fixture.server.isListening)
    #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test(
    "The same in a wait: it is false with the error, and the next wait finds the client",
    arguments: recovering
  )
  func recoversInWait(_ row: ErrorRow) throws {
    let fixture = try Fixture(withLoop: false)
    fixture.fail(row.errnum)
    let client = try fixture.connect()
    #expect(!fixture.server.waitForNewConnection(msec: 60_000))
    #expect(fixture.told == [row.error])
    #expect(fixture.server.serverError == row.error)
    #expect(fixture.server.errorString == row.text)
    #expect(fixture.server.waitForNewConnection(msec: 60_000))
    #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test(
    "A listening socket that is broken stops the server, with one error",
    arguments: fatal,
    [true, false]
  )
  func stops(_ row: ErrorRow, withLoop: Bool) throws {
    let fixture = try Fixture(withLoop: withLoop)
    let file = try #require(OpenFile(fixture.server.socketDescriptor))
    fixture.fail(row.errnum, times: -1)
    let client = try fixture.connect()
    if withLoop {
      #expect(fixture.loop.run { !fixture.server.isListening })
      fixture.loop.settle(turns: 3)
    } else {
      #expect(!fixture.server.waitForNewConnection(msec: 60_000))
    }
    fault_clear()
    #expect(fixture.told == [row.error])
    #expect(fixture.server.serverError == row.error)
    #expect(fixture.server.errorString == row.text)
    #expect(fixture.server.statistics.listenerErrors == 1)
    #expect(!fixture.server.isListening)
    #expect(!file.isOpen)
    #expect(client.nextInput() == .failed(ECONNRESET))
    #expect(fixture.server.listen(address: .localHost), "it can listen anew")
    expectBalanced(fixture.server)
  }

  @Test("EOPNOTSUPP on a socket that still listens concerns one peer")
  func notSupportedOnce() throws {
    let fixture = try Fixture()
    fixture.fail(EOPNOTSUPP)
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    #expect(fixture.told.isEmpty)
    #expect(fixture.server.statistics.peerErrors == 1)
    client.end()
    expectBalanced(fixture.server)
  }

  @Test(
    "A listening socket shut down from outside stops the server, with one error",
    arguments: [true, false]
  )
  func shutDown(withLoop: Bool) throws {
    let fixture = try Fixture(withLoop: withLoop)
    shutdown(fixture.server.socketDescriptor, CInt(SHUT_RD))
    if withLoop {
      #expect(fixture.loop.run { !fixture.server.isListening })
    } else {
      #expect(!fixture.server.waitForNewConnection(msec: 60_000))
    }
    #expect(fixture.told == [.unsupportedSocketOperation])
    #expect(fixture.server.errorString == "Protocol type not supported")
    #expect(fixture.server.serverPort == 0)
    expectBalanced(fixture.server)
  }

  @Test("The strict overload policy waits for resumeAccepting(), as Qt does")
  func strictMode() throws {
    defer { fault_reset_clock() }
    let fixture = try Fixture()
    fixture.server.overloadPolicy = .strict
    fixture.fail(EMFILE)
    let client = try fixture.connect()
    #expect(fixture.loop.run { !fixture.told.isEmpty })
    fault_advance_clock(5000)
    fixture.loop.settle()
    #expect(!fixture.server.hasPendingConnections)
    #expect(fixture.told == [.socketResource])
    fixture.server.resumeAccepting()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(fixture.server)
  }

  @Test("A second lack of descriptors, after a connection was accepted, is reported again")
  func secondEpisode() throws {
    let fixture = try Fixture()
    for episode in 1...2 {
      fixture.fail(EMFILE, times: 2)
      let client = try fixture.connect()
      #expect(fixture.loop.run { fixture.server.hasPendingConnections })
      #expect(fixture.told.count == episode)
      #expect(fixture.server.nextPendingConnection()?.peerPort == client.port)
    }
    #expect(fixture.server.statistics.errorEpisodes == 2)
    expectBalanced(fixture.server)
  }

  @Test("EINTR and EAGAIN are not reported", arguments: [EINTR, EAGAIN])
  func nothing(_ errnum: CInt) throws {
    let fixture = try Fixture()
    fixture.fail(errnum)
    let client = try fixture.connect()
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    #expect(fixture.told.isEmpty)
    #expect(fixture.server.serverError == .unknown)
    client.end()
    expectBalanced(fixture.server)
  }
}
