// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// The end of the peer's input is not the end of the connection: what Qt cannot do.
@Suite("Half-close", .blocking)
struct HalfCloseTests {
  @Test(
    "A reply written in the readyRead that carried the request arrives whole, the end being there already",
    arguments: [5, 4 << 20]
  )
  func replyWithEndAlreadyThere(count: Int) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let reply = pattern(count)
    peer.send("request")
    peer.endWriting()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    let recorder = Recorder(socket)
    socket.readyRead.connect {
      _ = socket.readAll()
      socket.write(reply)
    }
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { recorder.isDisconnected })
    #expect(delivery.join() == .whole(reply))
    #expect(recorder.bytesWritten == count)
    #expect(recorder.count(.errorOccurred(.remoteHostClosed, .connected)) == 1)
    #expect(recorder.count(.disconnected) == 1)
  }

  @Test("A request larger than the loop's buffer and its end come in order, and the reply arrives")
  func largeRequest() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let request = pattern(1 << 20)
    var received: [UInt8] = []
    socket.readyRead.connect { received += socket.readAll() }
    socket.readChannelFinished.connect {
      socket.write("got \(received.count)")
      socket.disconnectFromHost()
    }
    let descriptor = peer.descriptor
    let client = Background {
      let peer = PlainClient(adopting: descriptor)
      peer.send(request)
      peer.endWriting()
      return peer.readToEnd()
    }
    #expect(loop.run { socket.state == .unconnected })
    #expect(Delivery.whole(received) == .whole(request))
    #expect(text(client.join().bytes) == "got \(request.count)")
    peer.forget()
  }

  @Test("With a handler of readChannelFinished a reply many turns later arrives")
  func lateReply() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    var finished = 0
    socket.readChannelFinished.connect { finished += 1 }
    peer.send("request")
    peer.endWriting()
    #expect(loop.run { finished == 1 })
    #expect(text(socket.readAll()) == "request")
    loop.settle()
    #expect(finished == 1)
    #expect(socket.state == .connected)
    #expect(socket.read(maxLength: 1) == nil, "the input has ended")
    #expect(socket.write("late ") == 5)
    loop.settle()
    #expect(socket.write("reply") == 5)
    socket.disconnectFromHost()
    #expect(recorder.isDisconnected)
    #expect(peer.readToEnd() == .whole(Array("late reply".utf8)))
  }

  @Test("The end is reported as an error, then as the end of the channel, while still connected")
  func order() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var told: [String] = []
    socket.readyRead.connect { told.append("readyRead") }
    socket.errorOccurred.connect { told.append("error \($0 == .remoteHostClosed) \(socket.state)") }
    socket.readChannelFinished.connect {
      told.append("finished \(socket.state)")
      socket.close()
    }
    socket.disconnected.connect { told.append("disconnected \(socket.state)") }
    peer.send("x")
    peer.endWriting()
    #expect(loop.run { socket.state == .unconnected })
    #expect(
      told == [
        "readyRead", "error true connected", "finished connected", "disconnected unconnected",
      ]
    )
  }

  @Test("Without a handler of readChannelFinished the socket delivers what it holds, then disconnects")
  func endsByItself() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let all = pattern(1 << 20)
    let recorder = Recorder(socket)
    socket.write(all)
    #expect(socket.bytesToWrite > 0)
    peer.endWriting()
    #expect(loop.run { recorder.count(.errorOccurred(.remoteHostClosed, .connected)) == 1 })
    #expect(socket.state == .closing)
    #expect(!recorder.isDisconnected)
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { recorder.isDisconnected })
    #expect(delivery.join() == .whole(all))
  }

  @Test("Waiting without a loop, a program reads to the end and then replies", arguments: [5, 4 << 20])
  func waiting(count: Int) throws {
    let (socket, peer) = try connectedPair(nil)
    let reply = pattern(count)
    peer.send("request")
    peer.endWriting()
    var request: [UInt8] = []
    while socket.waitForReadyRead(msec: 60_000) {
      request += socket.readAll()
    }
    #expect(text(request) == "request")
    #expect(socket.error == .remoteHostClosed)
    #expect(socket.state == .closing)
    #expect(socket.read(maxLength: 1) == nil)
    #expect(socket.write(reply) == count)
    let delivery = peer.readToEndElsewhere()
    socket.disconnectFromHost()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(delivery.join() == .whole(reply))
  }

  @Test("Reading without any signal or wait finds the end too")
  func plainReads() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    peer.send("request")
    peer.endWriting()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    #expect(text(socket.read(maxLength: 100)) == "request")
    #expect(socket.read(maxLength: 100) == nil)
    #expect(socket.write("reply") == 5)
    socket.disconnectFromHost()
    #expect(peer.readToEnd() == .whole(Array("reply".utf8)))
  }

  @Test("Handlers connected after a read has found the end are still called for it")
  func handlersAfterTheEnd() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    peer.endWriting()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    #expect(socket.read(maxLength: 1) == nil)
    let recorder = Recorder(socket)
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.events == [.errorOccurred(.remoteHostClosed, .connected), .disconnected])
  }

  @Test("finishWriting() gives the peer the end of input, and reading goes on")
  func finishWriting() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var received: [UInt8] = []
    socket.readyRead.connect { received += socket.readAll() }
    socket.write("request")
    socket.finishWriting()
    socket.finishWriting()
    #expect(peer.readToEnd() == .whole(Array("request".utf8)))
    #expect(socket.state == .connected)
    peer.send("reply")
    #expect(loop.run { received.count == 5 })
    peer.end()
    #expect(loop.run { socket.state == .unconnected })
  }

  @Test("finishWriting() comes after what is still held")
  func writeEndAfterHeldBytes() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let all = pattern(1 << 20)
    socket.write(all)
    #expect(socket.bytesToWrite > 0)
    socket.finishWriting()
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { socket.bytesToWrite == 0 })
    #expect(delivery.join() == .whole(all))
    #expect(socket.state == .connected)
  }

  @Test("A write after finishWriting() fails and says why")
  func writeAfterWriteEnd() throws {
    let (socket, peer) = try connectedPair(nil)
    socket.finishWriting()
    #expect(socket.write("x") == -1)
    #expect(socket.error == .operation)
    #expect(socket.errorString == "The write side has ended")
    peer.send("x")
    #expect(socket.waitForReadyRead(msec: 60_000))
  }

  @Test(
    "With handlers, a connection both of whose sides have ended is over, and what was written arrives",
    arguments: [true, false],
    [5, 4 << 20]
  )
  func bothEnded(peerIsFirst: Bool, count: Int) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    let reply = pattern(count)
    var finished = 0
    let end = { [unowned socket] in
      socket.write(reply)
      socket.finishWriting()
    }
    socket.readChannelFinished.connect {
      finished += 1
      if peerIsFirst { end() }
    }
    if !peerIsFirst { end() }
    peer.endWriting()
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { recorder.isDisconnected })
    #expect(delivery.join() == .whole(reply))
    #expect(finished == 1)
    #expect(recorder.count(.disconnected) == 1)
    #expect(socket.socketDescriptor == -1)
  }

  @Test("So it is where the program ends its side long after the peer, but not within that call")
  func endedLater() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    var finished = 0
    socket.readChannelFinished.connect { finished += 1 }
    peer.endWriting()
    #expect(loop.run { finished == 1 })
    loop.settle()
    #expect(!recorder.isDisconnected)
    socket.finishWriting()
    #expect(socket.state == .connected)
    #expect(loop.run { recorder.isDisconnected })
    #expect(peer.readToEnd() == .whole([]))
  }

  @Test("A handler of the error that ends this side takes no other handler its turn")
  func endedWithinTheError() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    var states: [SocketState] = []
    socket.errorOccurred.connect { [unowned socket] _ in socket.finishWriting() }
    socket.readChannelFinished.connect { [unowned socket] in states.append(socket.state) }
    peer.endWriting()
    #expect(loop.run { recorder.isDisconnected })
    #expect(states == [.connected])
  }

  @Test("Two sockets that end their sides one after the other both disconnect")
  func bothSides() throws {
    let loop = try Loop()
    let (accepted, client) = try connectedSockets(loop.base)
    accepted.readyRead.connect {}
    accepted.readChannelFinished.connect { [unowned accepted] in
      accepted.write(accepted.readAll())
      accepted.finishWriting()
      accepted.disconnectFromHost()
    }
    var echoed: [UInt8] = []
    client.readyRead.connect { [unowned client] in echoed += client.readAll() }
    client.write("ping")
    client.finishWriting()
    #expect(loop.run { accepted.state == .unconnected && client.state == .unconnected })
    #expect(text(echoed) == "ping")
  }
}
