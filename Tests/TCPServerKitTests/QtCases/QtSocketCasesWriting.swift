// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// What Qt's own tests say about writing to an accepted socket.
@Suite("Qt's cases: writing", .blocking)
struct QtSocketCasesWriting {
  @Test("C07: waitForBytesWritten() is true once there is less to write", arguments: [5000, -1])
  func waitForBytesWritten(msec: Int) throws {
    let (socket, peer) = try connectedPair(nil, tight: true)
    // write() sends at once and holds only what the kernel does not take: it takes more than this to hold any.
    let all = pattern(1 << 20)
    #expect(socket.write(all) == all.count)
    let held = socket.bytesToWrite
    #expect(held > 0 && held < all.count)
    // What went out within write() is reported first.
    #expect(socket.waitForBytesWritten(msec: msec))
    let delivery = peer.readToEndElsewhere(thenEnds: true)
    #expect(socket.waitForBytesWritten(msec: msec))
    #expect(socket.bytesToWrite < held)
    socket.disconnectFromHost()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(delivery.join() == .whole(all))
  }

  @Test("C08: a readyRead handler that flushes within waitForBytesWritten() does not make it miss the bytes")
  func writeInReadyRead() throws {
    let (socket, peer) = try connectedPair(nil, tight: true)
    var emissions = 0
    socket.readyRead.connect {
      emissions += 1
      socket.write("x")
      socket.flush()
    }
    let all = pattern(1 << 20)
    socket.write(all)
    #expect(socket.waitForBytesWritten(msec: 60_000))
    peer.send("go")
    let delivery = peer.readToEndElsewhere(thenEnds: true)
    #expect(Descriptors.waitReadable(socket.socketDescriptor))
    #expect(socket.waitForBytesWritten(msec: 60_000))
    while socket.bytesToWrite > 0 {
      try #require(socket.waitForBytesWritten(msec: 60_000))
    }
    #expect(emissions == 1)
    socket.disconnectFromHost()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(delivery.join() == .whole(all + [UInt8(ascii: "x")]))
  }

  @Test("C09: flush() is harmless when unconnected; a small write needs none, since write() sends at once")
  func flush() throws {
    #expect(!TCPSocket(eventBase: nil).flush())
    let (socket, peer) = try connectedPair(nil)
    #expect(socket.write("0123456789") == 10)
    #expect(socket.bytesToWrite == 0)
    #expect(!socket.flush())
    #expect(text(peer.receive(exactly: 10)) == "0123456789")
  }

  @Test("C20: the blocking calls work on a thread that has no loop")
  func withoutLoop() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let port = server.serverPort
    let client = Background {
      let socket = TCPSocket()
      socket.connectToHost(.localHost, port: port)
      guard socket.waitForConnected(msec: 60_000) else { return "not connected" }
      socket.write("request")
      guard socket.waitForReadyRead(msec: 60_000) else { return "no reply" }
      let reply = socket.readAll()
      guard socket.waitForDisconnected(msec: 60_000) else { return "not disconnected" }
      return String(decoding: reply, as: UTF8.self)
    }
    let socket = try acceptedSocket(of: server)
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(text(socket.readAll()) == "request")
    socket.write("reply")
    socket.disconnectFromHost()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(client.join() == "reply")
  }

  @Test("C25: options read back what was set")
  func options() throws {
    let (socket, peer) = try connectedPair(nil)
    defer { peer.end() }
    for option in [SocketOption.lowDelay, .keepAlive] {
      #expect(socket.socketOption(option) == (option == .lowDelay ? 1 : 0))
      #expect(socket.setSocketOption(option, 1))
      #expect(socket.socketOption(option) == 1)
      #expect(socket.setSocketOption(option, 0))
      #expect(socket.socketOption(option) == 0)
    }
    #expect(socket.setSocketOption(.typeOfService, 32))
    #expect(socket.socketOption(.typeOfService) == 32)
  }
}
