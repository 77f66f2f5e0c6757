// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// By a caller who is no task.
func runTheLoop(of server: TCPServer, timeout: Duration? = nil) -> Bool {
  server.runUntilConnectionsEnded(timeout: timeout)
}

@Suite("Running the loop until no connection is left")
struct RunUntilConnectionsEndedTests {
  private let loop: Loop
  private let server: TCPServer
  private let client: PlainClient
  private let socket: TCPSocket

  init() throws {
    loop = try Loop()
    server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
    client = try #require(PlainClient(to: server))
    socket = try acceptedSocket(of: server)
    server.close()
  }

  @Test("The loop runs, as the current one, until the last has ended, however often stop() is called")
  func runs() throws {
    var current: EventBase?
    socket.readChannelFinished.connect { [socket, loop] in
      current = EventBase.current
      socket.abort()
      loop.base.stop()
    }
    loop.base.stop()
    client.endWriting()
    #expect(server.runUntilConnectionsEnded())
    #expect(server.statistics.live == 0)
    #expect(current === loop.base)
  }

  @Test(
    "A timeout ends it, after a look at what is there",
    arguments: [.milliseconds(20), .zero, .seconds(-1)] as [Duration]
  )
  func timeout(_ timeout: Duration) throws {
    let before = ContinuousClock.now
    #expect(!server.runUntilConnectionsEnded(timeout: timeout))
    #expect(ContinuousClock.now - before >= timeout)
    #expect(socket.state == .connected)
    socket.readChannelFinished.connect { [socket] in socket.abort() }
    client.endWriting()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    #expect(server.runUntilConnectionsEnded(timeout: timeout))
  }

  @Test("With no connection it does not wait")
  func nothingLeft() throws {
    socket.abort()
    #expect(server.runUntilConnectionsEnded())
  }

  @Test("Called by what runs on the loop it refuses")
  func nested() throws {
    var answer: Bool?
    socket.readyRead.connect { [server] in answer = server.runUntilConnectionsEnded() }
    client.send("x")
    #expect(loop.run { answer != nil })
    #expect(answer == false)
    #expect(server.serverError == .operation)
    #expect(server.errorString == "runUntilConnectionsEnded() called by what runs on the event base")
  }
}
