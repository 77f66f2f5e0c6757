// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Writing", .blocking)
struct SocketWritingTests {
  @Test("Every form of write() sends its bytes and returns their number")
  func forms() throws {
    let (socket, peer) = try connectedPair(nil)
    #expect(socket.write("text é") == 7)
    #expect(socket.write([1, 2, 3] as [UInt8]) == 3)
    #expect(socket.write([1, 2, 3, 4][1...2] as ArraySlice<UInt8>) == 2)
    // A collection that is not in one piece.
    #expect(socket.write(["a", "b"].lazy.map { $0.utf8.first ?? 0 }) == 2)
    let raw = unsafe [UInt8](repeating: 9, count: 5).withUnsafeBytes { unsafe socket.write($0) }
    #expect(raw == 5)
    let spanned: [UInt8] = [6, 7]
    let written = unsafe socket.write(spanned.span.bytes)
    #expect(written == 2)
    #expect(socket.write("") == 0)
    #expect(socket.write([UInt8]()) == 0)
    socket.disconnectFromHost()
    #expect(peer.readToEnd() == .whole(Array("text é".utf8) + [1, 2, 3, 2, 3, 97, 98, 9, 9, 9, 9, 9, 6, 7]))
  }

  @Test("write() on a socket that is not connected gives -1 and says why")
  func unconnected() throws {
    let socket = TCPSocket(eventBase: nil)
    #expect(socket.write("x") == -1)
    #expect(socket.errorString == "Socket is not connected")
    #expect(!socket.waitForBytesWritten(msec: 60_000))
    #expect(!socket.waitForReadyRead(msec: 60_000))
    #expect(!socket.waitForDisconnected(msec: 60_000))
    #expect(!socket.waitForConnected(msec: 60_000))
  }

  @Test("bytesToWrite is what the kernel has not taken, and bytesWritten adds up to what was written")
  func accounting() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let recorder = Recorder(socket)
    let all = pattern(1 << 20)
    for start in stride(from: 0, to: all.count, by: 1 << 16) {
      socket.write(all[start..<start + 1 << 16])
    }
    let held = socket.bytesToWrite
    #expect(held > 0)
    #expect(recorder.bytesWritten == 0, "nothing is told from within write()")
    loop.settle(turns: 3)
    #expect(recorder.bytesWritten == all.count - socket.bytesToWrite)
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { socket.bytesToWrite == 0 })
    #expect(loop.run { recorder.bytesWritten == all.count })
    socket.disconnectFromHost()
    #expect(delivery.join() == .whole(all))
    #expect(recorder.bytesWritten == all.count)
  }

  @Test("After disconnected nothing is reported of what was written before", arguments: [false, true])
  func nothingAfterTheEnd(isAccepted: Bool) throws {
    let loop = try Loop()
    let (accepted, client) = try connectedSockets(loop.base)
    let socket = isAccepted ? accepted : client
    let recorder = Recorder(socket)
    socket.write("gone")
    socket.abort()
    #expect(recorder.events == [.disconnected])
    loop.settle(turns: 3)
    #expect(recorder.events == [.disconnected])
  }

  @Test("Bytes that flush() sends are reported as well")
  func accountingOfFlush() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let recorder = Recorder(socket)
    let all = pattern(1 << 20)
    socket.write(all)
    loop.settle(turns: 2)
    let delivery = peer.readToEndElsewhere()
    while socket.bytesToWrite > 0 {
      try #require(Descriptors.waitWritable(socket.socketDescriptor))
      #expect(socket.flush())
    }
    #expect(!socket.flush())
    #expect(loop.run { recorder.bytesWritten == all.count })
    socket.disconnectFromHost()
    #expect(delivery.join() == .whole(all))
  }

  @Test("bytesWritten is not emitted from within itself, and none of its bytes are lost")
  func notRecursive() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var depth = 0
    var deepest = 0
    var told: [Int] = []
    socket.bytesWritten.connect { [unowned socket] count in
      depth += 1
      deepest = max(deepest, depth)
      told.append(count)
      if told.count < 4 {
        socket.write("next")
        socket.flush()
      }
      depth -= 1
    }
    socket.write("first")
    #expect(loop.run { told.count == 4 })
    loop.settle()
    #expect(deepest == 1)
    #expect(told == [5, 4, 4, 4])
    #expect(peer.receive(exactly: 17).count == 17)
  }

  @Test("Waiting for all to be written within a bytesWritten handler ends, and all of it is reported")
  func waitWithinBytesWritten() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base, tight: true)
    let all = pattern(1 << 20)
    var told = 0
    var waited = false
    socket.bytesWritten.connect { count in
      told += count
      while socket.bytesToWrite > 0, socket.waitForBytesWritten(msec: 60_000) {}
      waited = waited || socket.bytesToWrite == 0
    }
    socket.write(all)
    #expect(socket.bytesToWrite > 0)
    let delivery = peer.readToEndElsewhere()
    #expect(loop.run { waited })
    #expect(loop.run { told == all.count })
    socket.disconnectFromHost()
    #expect(delivery.join() == .whole(all))
  }

  @Test("A 50 MB transfer paced by bytesWritten never holds more than five chunks")
  func pacedTransfer() throws {
    let loop = try Loop()
    let (accepted, client) = try connectedSockets(loop.base)
    let total = 50 << 20
    let chunk = 64 << 10
    let bytes = [UInt8](repeating: 7, count: chunk)
    var pending = 0
    var written = 0
    var most = 0
    var received = 0
    func sendMore() {
      while pending < 4 * chunk, written + pending < total {
        pending += client.write(bytes.prefix(total - written - pending))
        most = max(most, client.bytesToWrite)
      }
    }
    client.bytesWritten.connect { count in
      pending -= count
      written += count
      sendMore()
    }
    accepted.readyRead.connect { received += accepted.readAll().count }
    sendMore()
    #expect(loop.run { received == total })
    #expect(loop.run { written == total })
    #expect(pending == 0)
    #expect(most <= 5 * chunk)
    client.bytesWritten.disconnectAll()
    client.disconnectFromHost()
    #expect(loop.run { accepted.state == .unconnected })
  }

  @Test("waitForBytesWritten() with nothing to write is false at once; a peer that does not read times out")
  func waitForBytesWritten() throws {
    let (socket, peer) = try connectedPair(nil, tight: true)
    #expect(!socket.waitForBytesWritten(msec: 60_000))
    socket.write(pattern(1 << 20))
    #expect(socket.waitForBytesWritten(msec: 60_000), "what went out within write()")
    while socket.waitForBytesWritten(msec: 20) {}
    #expect(socket.error == .socketTimeout)
    #expect(socket.state == .connected)
    #expect(socket.bytesToWrite > 0)
    peer.end()
    while socket.waitForBytesWritten(msec: 60_000) {}
    #expect(socket.error == .remoteHostClosed)
    #expect(socket.bytesToWrite == 0)
  }

  // MARK: - A peer that is gone

  @Test("Writing to a peer that has reset: no SIGPIPE, -1, and disconnected exactly once")
  func writeAfterReset() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    peer.reset()
    #expect(Descriptors.waitReset(socket.socketDescriptor))
    #expect(socket.write("x") == -1)
    #expect(socket.error == .remoteHostClosed)
    #expect(socket.write("y") == -1, "EPIPE, which would raise SIGPIPE without MSG_NOSIGNAL")
    #expect(socket.error == .remoteHostClosed)
    #expect(socket.errorString == "The remote host closed the connection")
    #expect(socket.state == .connected, "nothing ends from within write()")
    #expect(loop.run { recorder.isDisconnected })
    loop.settle()
    #expect(recorder.events == [.errorOccurred(.remoteHostClosed, .connected), .disconnected])
  }

  @Test("Without a loop write() gives -1, and a wait finds the end")
  func writeAfterResetWithoutLoop() throws {
    let (socket, peer) = try connectedPair(nil)
    peer.reset()
    #expect(Descriptors.waitReset(socket.socketDescriptor))
    #expect(socket.write("x") == -1)
    #expect(socket.write("y") == -1)
    #expect(socket.error == .remoteHostClosed)
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(socket.state == .unconnected)
  }

  @Test("A reset while bytes are held is reported although the input has ended or is not read")
  func resetWhileNotReading() throws {
    for endsFirst in [true, false] {
      let loop = try Loop()
      let (socket, peer) = try connectedPair(loop.base, tight: true)
      let recorder = Recorder(socket)
      if endsFirst {
        var finished = false
        socket.readChannelFinished.connect { finished = true }
        peer.endWriting()
        #expect(loop.run { finished })
      } else {
        socket.readBufferSize = 1
        peer.send("ab")
        #expect(loop.run { socket.bytesAvailable == 1 })
      }
      socket.write(pattern(1 << 20))
      #expect(socket.bytesToWrite > 0)
      peer.reset()
      #expect(loop.run { recorder.isDisconnected }, "ends first: \(endsFirst)")
      #expect(recorder.count(.disconnected) == 1)
      #expect(recorder.count(.errorOccurred(.remoteHostClosed, .connected)) > 0)
      #expect(socket.error == .remoteHostClosed)
      #expect(socket.bytesToWrite == 0)
    }
  }

  @Test("A broken connection ends although readChannelFinished has a handler that does nothing")
  func resetWithFinishedHandler() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    socket.readChannelFinished.connect {}
    peer.reset()
    #expect(Descriptors.waitReset(socket.socketDescriptor))
    #expect(socket.write("x") == -1)
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.count(.disconnected) == 1)
  }
}
