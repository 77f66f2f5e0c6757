// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// What Qt's own tests say about how connections end.
@Suite("Qt's cases: ending", .blocking)
struct QtSocketCasesEnding {
  @Test("C10: after waitForDisconnected() what arrived is still there to read")
  func synchronous() throws {
    let (socket, peer) = try connectedPair(nil)
    peer.send("data")
    peer.end()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(socket.state == .unconnected)
    #expect(socket.bytesAvailable == 4)
    #expect(text(socket.readAll()) == "data")
    #expect(socket.waitForDisconnected(msec: 0), "true when the connection has ended already")
  }

  @Test("C11: a timeout does not close an idle connection")
  func timeoutLeavesOpen() throws {
    let (socket, peer) = try connectedPair(nil)
    #expect(!socket.waitForReadyRead(msec: 20))
    #expect(socket.error == .socketTimeout)
    #expect(socket.errorString == "Network operation timed out")
    #expect(!socket.waitForDisconnected(msec: 20))
    #expect(socket.error == .socketTimeout)
    #expect(socket.state == .connected)
    peer.send("still here")
    #expect(socket.waitForReadyRead(msec: 60_000))
  }

  @Test("C13: the peer's close is reported once, while still connected; closing within the handler is fine")
  func remoteCloseError() throws {
    let loop = try Loop()
    let (accepted, client) = try connectedSockets(loop.base)
    let recorder = Recorder(client)
    client.errorOccurred.connect { [unowned client] _ in client.close() }
    accepted.write("12345")
    accepted.disconnectFromHost()
    #expect(loop.run { recorder.isDisconnected })
    loop.settle()
    #expect(
      recorder.events == [
        .readyRead, .errorOccurred(.remoteHostClosed, .connected), .disconnected,
      ]
    )
    #expect(client.error == .remoteHostClosed)
    #expect(client.errorString == "The remote host closed the connection")
  }

  @Test("C13: a socket whose peer has closed can connect again")
  func reconnectAfterRemoteClose() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.listen(address: .localHost))
    server.newConnection.connect {
      server.nextPendingConnection()?.disconnectFromHost()
    }
    let client = TCPSocket(eventBase: loop.base)
    var rounds = 0
    client.disconnected.connect {
      rounds += 1
      if rounds < 5 {
        client.connectToHost(.localHost, port: server.serverPort)
      }
    }
    client.connectToHost(.localHost, port: server.serverPort)
    #expect(loop.run { rounds == 5 })
    loop.settle()
    #expect(client.state == .unconnected)
    client.disconnected.disconnectAll()
  }

  @Test("C14: releasing the socket and running the loop in the error handler is harmless (the run returns)")
  func loopInErrorHandler() throws {
    let loop = try Loop()
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(loop.base)
    weak let released = socket
    var told = false
    socket?.errorOccurred.connect { _ in
      socket = nil
      loop.base.runOnce()
      loop.base.run()
      told = true
    }
    peer.end()
    #expect(loop.run { told })
    loop.settle()
    #expect(released == nil)
  }

  @Test("C17: the other side's abort is one error and no readyRead")
  func abortiveClose() throws {
    let loop = try Loop()
    let (accepted, client) = try connectedSockets(loop.base)
    let recorder = Recorder(client)
    accepted.abort()
    #expect(accepted.state == .unconnected)
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.events == [.errorOccurred(.remoteHostClosed, .connected), .disconnected])
  }

  @Test("C17: so is a reset")
  func reset() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    peer.reset()
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.events == [.errorOccurred(.remoteHostClosed, .connected), .disconnected])
    #expect(socket.error == .remoteHostClosed)
  }

  @Test("C23: a timeout does not hide the close that follows")
  func timeoutThenClose() throws {
    let (socket, peer) = try connectedPair(nil)
    #expect(!socket.waitForReadyRead(msec: 10))
    #expect(socket.error == .socketTimeout)
    peer.end()
    #expect(!socket.waitForReadyRead(msec: 60_000))
    #expect(socket.error == .remoteHostClosed)
    // Not a disconnect yet, unlike in Qt: only the peer's side has ended.
    #expect(socket.state == .closing)
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(socket.error == .remoteHostClosed)
  }

  @Test("C26: what is written before close() arrives whole", arguments: [10, 8 << 20])
  func delayedDisconnect(count: Int) throws {
    let (socket, peer) = try connectedPair(nil)
    let all = pattern(count)
    let delivery = peer.readToEndElsewhere(thenEnds: true)
    #expect(socket.write(all) == count)
    socket.close()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(delivery.join() == .whole(all))
  }

  @Test("C27: a byte that came with the peer's close is readable, and disconnected comes once")
  func disconnectWithBuffered() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    peer.send("x")
    peer.end()
    #expect(loop.run { recorder.isDisconnected })
    loop.settle()
    #expect(recorder.count(.disconnected) == 1)
    #expect(recorder.count(.readyRead) == 1)
    #expect(socket.state == .unconnected)
    #expect(text(socket.readAll()) == "x")
  }
}
