// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Disconnecting delivers what was written, whatever the peer does meanwhile.
@Suite("Orderly disconnect", .blocking)
struct OrderlyDisconnectTests {
  enum Ending: CaseIterable, Sendable {
    case disconnectFromHost, close

    func end(_ socket: TCPSocket) {
      switch self {
      case .disconnectFromHost: socket.disconnectFromHost()
      case .close: socket.close()
      }
    }
  }

  @Test("8 MB reach a slow reader through the loop", arguments: Ending.allCases)
  func slowReader(ending: Ending) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let all = pattern(8 << 20)
    let recorder = Recorder(socket)
    #expect(socket.write(all) == all.count)
    ending.end(socket)
    #expect(socket.state == .closing)
    // A turn of the loop for each piece that the peer reads.
    var received: [UInt8] = []
    var ended = false
    #expect(
      loop.run {
        switch peer.input(atMost: 200_000) {
        case .bytes(let bytes): received += bytes
        case .end: ended = true
        case .failed, .nothing: break
        }
        return ended
      }
    )
    #expect(received.count == all.count)
    #expect(Delivery(bytes: received) == .whole(all))
    peer.endWriting()
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.bytesWritten == all.count)
    #expect(recorder.count(.disconnected) == 1)
    #expect(!file.isOpen)
  }

  @Test("8 MB reach a reader without a loop", arguments: Ending.allCases)
  func withoutLoop(ending: Ending) throws {
    let (socket, peer) = try connectedPair(nil, tight: true)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let all = pattern(8 << 20)
    socket.write(all)
    ending.end(socket)
    #expect(socket.state == .closing)
    let delivery = peer.readToEndElsewhere(thenEnds: true)
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(delivery.join() == .whole(all))
    #expect(!file.isOpen)
  }

  @Test(
    "With nothing left to send, both ways end when the peer ends",
    arguments: Ending.allCases
  )
  func whenThePeerEnds(ending: Ending) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    ending.end(socket)
    #expect(socket.state == .closing)
    #expect(peer.nextInput() == .end)
    loop.settle()
    #expect(socket.state == .closing)
    ending.end(socket)
    peer.end()
    #expect(loop.run { socket.state == .unconnected })
    #expect(socket.socketDescriptor == -1)
    socket.abort()
    #expect(recorder.events == [.disconnected])
  }

  @Test(
    "With nothing left to send, and the peer's end there, both ways end within the call",
    arguments: Ending.allCases
  )
  func atOnce(ending: Ending) throws {
    let (socket, peer) = try connectedPair(nil)
    peer.end()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    ending.end(socket)
    #expect(socket.state == .unconnected)
    #expect(socket.socketDescriptor == -1)
  }

  @Test("What is written while closing is delivered too")
  func writeWhileClosing() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let all = pattern(1 << 20)
    socket.write(all)
    socket.disconnectFromHost()
    #expect(socket.state == .closing)
    #expect(socket.write("tail") == 4)
    let delivery = peer.readToEndElsewhere(thenEnds: true)
    #expect(loop.run { socket.state == .unconnected })
    #expect(delivery.join() == .whole(all + Array("tail".utf8)))
  }

  @Test("flush() that sends the last of a closing socket's bytes ends it")
  func flushWhileClosing() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let all = pattern(1 << 20)
    socket.write(all)
    socket.disconnectFromHost()
    let delivery = peer.readToEndElsewhere()
    while socket.bytesToWrite > 0 {
      try #require(Descriptors.waitWritable(socket.socketDescriptor))
      socket.flush()
    }
    #expect(delivery.join() == .whole(all), "the peer sees the end")
    peer.end()
    #expect(loop.run { socket.state == .unconnected })
  }

  // MARK: - Input that the program has not read

  @Test("1 MiB that was never read does not destroy the reply", arguments: Ending.allCases)
  func unreadInput(ending: Ending) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let request = peer.sendWhatFits(1 << 20)
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, min(request, 60000)))
    let recorder = Recorder(socket)
    socket.write("the reply")
    ending.end(socket)
    #expect(socket.state == .closing, "what the peer still sends is thrown away for a while")
    // The peer is not done yet: what it sends now must not reset the connection either.
    #expect(peer.sendWhatFits(100_000) > 0)
    loop.settle()
    #expect(peer.readToEnd() == .whole(Array("the reply".utf8)))
    #expect(socket.write("too late") == -1)
    #expect(!recorder.isDisconnected)
    peer.end()
    #expect(loop.run { recorder.isDisconnected }, "lingering ends when the peer has ended")
    #expect(recorder.events == [.bytesWritten(9), .disconnected])
    #expect(!file.isOpen)
  }

  @Test("Neither does it without a loop", arguments: Ending.allCases)
  func unreadInputWithoutLoop(ending: Ending) throws {
    let (socket, peer) = try connectedPair(nil)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let request = peer.sendWhatFits(1 << 20)
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, min(request, 60000)))
    socket.write("the reply")
    ending.end(socket)
    #expect(!socket.waitForDisconnected(msec: 10), "the peer has not ended yet")
    #expect(socket.state == .closing)
    #expect(peer.sendWhatFits(100_000) > 0)
    #expect(peer.readToEnd() == .whole(Array("the reply".utf8)))
    peer.end()
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(!file.isOpen)
  }

  @Test("A lingering socket can be aborted")
  func abortLingering() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let recorder = Recorder(socket)
    peer.send("unread")
    #expect(Descriptors.waitReadable(socket.socketDescriptor))
    socket.disconnectFromHost()
    #expect(socket.state == .closing)
    socket.abort()
    #expect(socket.state == .unconnected)
    #expect(recorder.events == [.disconnected])
    #expect(!file.isOpen)
    loop.settle()
  }

  @Test("A peer that is gone ends a closing socket whose bytes it does not take", arguments: [true, false])
  func resetWhileClosing(usesLoop: Bool) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(usesLoop ? loop.base : nil, tight: true)
    let file = try #require(OpenFile(socket.socketDescriptor))
    var disconnected = 0
    socket.disconnected.connect { disconnected += 1 }
    socket.write(pattern(1 << 20))
    socket.disconnectFromHost()
    #expect(socket.state == .closing)
    peer.reset()
    if usesLoop {
      #expect(loop.run { disconnected > 0 })
    } else {
      #expect(socket.waitForDisconnected(msec: 60_000))
    }
    #expect(disconnected == 1)
    #expect(socket.state == .unconnected)
    #expect(socket.bytesToWrite == 0)
    #expect(!file.isOpen)
  }

  // MARK: - Other ends

  @Test("abort() drops what the kernel has not taken")
  func abort() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let recorder = Recorder(socket)
    let all = pattern(1 << 20)
    socket.write(all)
    #expect(socket.bytesToWrite > 0)
    socket.abort()
    #expect(socket.state == .unconnected)
    #expect(socket.bytesToWrite == 0)
    #expect(recorder.count(.disconnected) == 1)
    #expect(!file.isOpen)
    #expect(peer.readToEnd().bytes.count < all.count)
  }

  @Test("Bytes that are held are delivered although the socket was released")
  func releasedWithHeldBytes() throws {
    let loop = try Loop()
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(loop.base, tight: true)
    let file = try #require(OpenFile(socket?.socketDescriptor ?? -1))
    let all = pattern(1 << 20)
    socket?.write(all)
    #expect(socket?.bytesToWrite ?? 0 > 0)
    weak let released = socket
    socket = nil
    #expect(released != nil, "the loop keeps it")
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { released == nil })
    #expect(delivery.join() == .whole(all))
    #expect(!file.isOpen)
  }

  @Test("Releasing the last reference of an idle socket closes it", arguments: [true, false])
  func releasedIdle(usesLoop: Bool) throws {
    let loop = try Loop()
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(usesLoop ? loop.base : nil)
    let file = try #require(OpenFile(socket?.socketDescriptor ?? -1))
    weak let released = socket
    socket = nil
    #expect(released == nil)
    #expect(peer.nextInput() == .end)
    #expect(!file.isOpen)
  }

  @Test("Without a loop, a wait for the end delivers what is held, ends this side and sees the peer's end")
  func waitDeliversTheRest() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection(msec: 60_000))
    let socket = try #require(server.nextPendingConnection())
    // Silence is not what ends it.
    socket.deliveryTimeout = .seconds(3600)
    let count = 16 << 20
    #expect(socket.write([UInt8](repeating: 7, count: count)) == count)
    #expect(socket.bytesToWrite > 0)
    socket.disconnectFromHost()
    let reading = client.readToEndElsewhere(thenEnds: true)
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(reading.join().bytes.count == count)
  }
}
