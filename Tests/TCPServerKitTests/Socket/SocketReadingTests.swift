// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Reading", .blocking)
struct SocketReadingTests {
  @Test("read(into:) fills the caller's memory, gives 0 when nothing is there and -1 at the end")
  func readIntoMemory() throws {
    let (socket, peer) = try connectedPair(nil)
    #expect(socket.readByteCount(8) == 0)
    peer.send("0123456789")
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 10))
    var read: [UInt8] = []
    let count = unsafe withUnsafeTemporaryAllocation(byteCount: 8, alignment: 1) { buffer in
      let count = unsafe socket.read(into: buffer)
      unsafe read += buffer[..<count]
      return count
    }
    #expect(count == 8)
    #expect(text(read) == "01234567")
    #expect(socket.readByteCount(8) == 2)
    peer.end()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    #expect(socket.readByteCount(8) == -1)
  }

  @Test("read(maxLength:) takes that many; nothing for 0 and for negative numbers")
  func readLimits() throws {
    let (socket, peer) = try connectedPair(nil)
    peer.send("abcdef")
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 6))
    #expect(socket.read(maxLength: 0) == [])
    #expect(socket.read(maxLength: -1) == [])
    #expect(socket.peek(maxLength: -1) == [])
    #expect(socket.readLine(maxLength: -1) == [])
    #expect(text(socket.read(maxLength: 4)) == "abcd")
    #expect(socket.bytesAvailable == 2)
    #expect(text(socket.readAll()) == "ef")
    #expect(socket.bytesAvailable == 0)
  }

  @Test("readAll(_:) lends what has arrived, from the kernel and from what was kept, and takes it")
  func lending() throws {
    let (socket, peer) = try connectedPair(nil)
    var lent: [[UInt8]] = []
    let lend = { socket.readAll { bytes in unsafe bytes.withUnsafeBytes { unsafe lent.append(Array($0)) } } }
    lend()
    #expect(lent.isEmpty)
    peer.send("abc")
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 3))
    #expect(text(socket.peek(maxLength: 1)) == "a")
    lend()
    #expect(lent.map { text($0) } == ["abc"])
    #expect(socket.bytesAvailable == 0)
    lend()
    #expect(lent.count == 1)
  }

  @Test("In a handler, readAll(_:) lends the loop's own bytes; the socket may be closed while it does")
  func lendingInHandlers() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var lent: [UInt8] = []
    socket.readyRead.connect {
      socket.readAll { bytes in
        socket.abort()
        unsafe bytes.withUnsafeBytes { unsafe lent += Array($0) }
      }
    }
    peer.send("abc")
    #expect(loop.run { socket.state == .unconnected })
    #expect(text(lent) == "abc")
    #expect(socket.bytesAvailable == 0)
  }

  @Test("A socket that never was connected has nothing and is at its end")
  func unconnected() throws {
    let socket = TCPSocket(eventBase: nil)
    #expect(socket.state == .unconnected)
    #expect(socket.socketDescriptor == -1)
    #expect(socket.bytesAvailable == 0)
    #expect(!socket.canReadLine)
    #expect(socket.read(maxLength: 1) == nil)
    #expect(socket.readLine() == nil)
    #expect(socket.readAll().isEmpty)
    #expect(socket.peek(maxLength: 1).isEmpty)
    #expect(socket.error == .unknown)
    #expect(socket.errorString == "Unknown error")
    #expect(socket.localAddress == .null)
    #expect(socket.localPort == 0)
    #expect(socket.peerAddress == .null)
    #expect(socket.peerPort == 0)
  }

  @Test("canReadLine is true once the newline is there; lines come one by one, the rest without one last")
  func lines() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var lines: [String?] = []
    let recorder = Recorder(socket)
    socket.readyRead.connect {
      while socket.canReadLine {
        lines.append(text(socket.readLine()))
      }
    }
    peer.send("one\ntw")
    #expect(loop.run { lines.count == 1 })
    #expect(socket.bytesAvailable == 2)
    peer.send("o\nthree\n\nfour")
    #expect(loop.run { lines.count == 4 })
    peer.end()
    #expect(loop.run { recorder.isDisconnected })
    #expect(lines == ["one\n", "two\n", "three\n", "\n"])
    #expect(text(socket.readLine()) == "four")
    #expect(socket.readLine() == nil)
  }

  @Test("readyRead is emitted once for an arrival, not again for what was left unread")
  func oncePerArrival() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    peer.send("abc")
    #expect(loop.run { socket.bytesAvailable == 3 })
    loop.settle()
    #expect(recorder.count(.readyRead) == 1)
    peer.send("def")
    #expect(loop.run { socket.bytesAvailable == 6 })
    #expect(recorder.count(.readyRead) == 2)
    #expect(text(socket.readAll()) == "abcdef")
  }

  @Test("Sockets of one loop do not mix what they leave unread")
  func sharedBuffer() throws {
    let loop = try Loop()
    let pairs = try (0..<8).map { _ in try connectedPair(loop.base) }
    var arrivals = 0
    for (number, pair) in pairs.enumerated() {
      let socket = pair.socket
      socket.readyRead.connect {
        arrivals += 1
        _ = socket.read(maxLength: 1)
      }
      pair.peer.send("\(number) is mine")
    }
    #expect(loop.run { arrivals == 8 })
    for (number, pair) in pairs.enumerated() {
      #expect(text(pair.socket.readAll()) == " is mine", "socket \(number)")
    }
  }

  @Test("Within readyRead everything can be read in pieces, and peeked at")
  func piecesInHandler() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let all = pattern(50000)
    var read: [UInt8] = []
    var peeked = true
    socket.readyRead.connect {
      while socket.bytesAvailable > 0 {
        let next = socket.peek(maxLength: 7)
        let bytes = socket.read(maxLength: 7) ?? []
        peeked = peeked && next == bytes
        read += bytes
      }
    }
    peer.send(all)
    #expect(loop.run { read.count == all.count })
    #expect(read == all)
    #expect(peeked)
  }

  @Test("Input that arrives faster than it is read is gathered in order")
  func gathering() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let all = pattern(1 << 20)
    var read: [UInt8] = []
    socket.readyRead.connect { read += socket.read(maxLength: 1000) ?? [] }
    let descriptor = peer.descriptor
    let sender = Background {
      let peer = PlainClient(adopting: descriptor)
      defer { peer.forget() }
      return peer.send(all)
    }
    #expect(loop.run { read.count + socket.bytesAvailable == all.count })
    #expect(sender.join() == all.count)
    #expect(Delivery(bytes: read + socket.readAll()) == .whole(all))
  }

  // MARK: - The limit

  @Test("A full read buffer throttles the peer, and reading lets it go on", arguments: [1, 4096, 100_000])
  func backPressure(limit: Int) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.readBufferSize = limit
    let handler = socket.readyRead.connect {}
    var sent = 0
    for _ in 0..<50 {
      sent += peer.sendWhatFits(1 << 20)
      loop.settle(turns: 2)
    }
    #expect(socket.bytesAvailable == limit)
    #expect(sent < 50 << 20, "the kernel must have refused some of it")
    // The kernel takes more where an acknowledgement has come late.
    #expect(
      loop.run {
        let more = peer.sendWhatFits(1)
        sent += more
        return more == 0
      }
    )

    var read = 0
    socket.readyRead.disconnect(handler)
    socket.readyRead.connect { read += socket.readAll().count }
    socket.readBufferSize = 1 << 20
    #expect(loop.run { read == sent })
    #expect(peer.sendWhatFits(1) == 1)
  }

  @Test("Reading a part of a full buffer makes room for as much")
  func partialRoom() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.readBufferSize = 4
    socket.readyRead.connect {}
    peer.send("abcdefgh")
    #expect(loop.run { socket.bytesAvailable == 4 })
    #expect(text(socket.read(maxLength: 3)) == "abc")
    #expect(loop.run { socket.bytesAvailable == 4 })
    #expect(text(socket.readAll()) == "defg")
    #expect(loop.run { socket.bytesAvailable == 1 })
  }

  @Test("Lowering the limit below what is held keeps what is held")
  func lowerLimit() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.readyRead.connect {}
    peer.send("abcdefgh")
    #expect(loop.run { socket.bytesAvailable == 8 })
    socket.readBufferSize = 2
    peer.send("ij")
    loop.settle()
    #expect(socket.bytesAvailable == 8)
    #expect(text(socket.read(maxLength: 7)) == "abcdefg")
    #expect(loop.run { socket.bytesAvailable == 2 })
    #expect(text(socket.readAll()) == "hi")
    #expect(loop.run { text(socket.peek(maxLength: 9)) == "j" })
    socket.readBufferSize = -5
    #expect(socket.readBufferSize == 0)
  }

  @Test("Filling the buffer by peek() outside of the loop is not taken for the end of input")
  func peekFillsBuffer() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    socket.readBufferSize = 4
    peer.send("abcdefgh")
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 8))
    #expect(text(socket.peek(maxLength: 4)) == "abcd")
    loop.settle()
    #expect(socket.state == .connected)
    #expect(recorder.events.isEmpty)
    #expect(text(socket.readAll()) == "abcd")
    #expect(loop.run { recorder.count(.readyRead) == 1 })
    #expect(text(socket.readAll()) == "efgh")
  }

  @Test("With a full buffer a wait times out", arguments: [true, false])
  func waitWithFullBuffer(isReset: Bool) throws {
    let (socket, peer) = try connectedPair(nil)
    socket.readBufferSize = 1
    peer.send("ab")
    #expect(socket.waitForReadyRead(msec: 60_000))
    if isReset {
      peer.reset()
      #expect(Descriptors.waitReset(socket.socketDescriptor))
    }
    #expect(!socket.waitForReadyRead(msec: 20))
    #expect(text(socket.read(maxLength: 8)) == "a")
  }

  @Test("A wait in which the kernel will not wait says why, and not that the time ran out")
  func waitFails() throws {
    let (socket, peer) = try connectedPair(nil)
    fault_fail(FAULT_POLL, 1, 1, ENOMEM)
    defer { fault_clear() }
    #expect(!socket.waitForReadyRead(msec: 60_000))
    #expect(socket.error == .socketResource)
    #expect(socket.errorString == "Out of resources")
    peer.send("a")
    #expect(socket.waitForReadyRead(msec: 60_000))
  }

  @Test("waitForReadyRead() is true for new data only, and sends what is held meanwhile")
  func waitForNewData() throws {
    let (socket, peer) = try connectedPair(nil, tight: true)
    peer.send("old")
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(!socket.waitForReadyRead(msec: 10))
    let all = pattern(1 << 20)
    socket.write(all)
    #expect(socket.bytesToWrite > 0)
    let descriptor = peer.descriptor
    let client = Background {
      let peer = PlainClient(adopting: descriptor)
      defer { peer.forget() }
      let request = peer.receive(exactly: 1 << 20)
      peer.send("new")
      return request.count
    }
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(client.join() == 1 << 20)
    #expect(text(socket.readAll()) == "oldnew")
  }
}
