// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// What Qt's own tests say about reading from an accepted socket.
@Suite("Qt's cases: reading", .blocking)
struct QtSocketCasesReading {
  @Test("C05: after close() there is nothing left to read")
  func readAllAfterClose() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var arrived = false
    socket.readyRead.connect { arrived = true }
    peer.send("unread")
    #expect(loop.run { arrived })
    #expect(socket.bytesAvailable == 6)
    socket.close()
    #expect(socket.readAll().isEmpty)
    #expect(socket.bytesAvailable == 0)
  }

  @Test("C06: readLine() keeps the newline, honours its limit, and gives nil after close()")
  func readLine() throws {
    let (socket, peer) = try connectedPair(nil)
    #expect(socket.readLine() == [])
    peer.send("first\r\n0123456789abcdef\nrest")
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 28))
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(socket.canReadLine)
    #expect(text(socket.readLine()) == "first\r\n")
    // The C form of Qt takes 11 for its NUL's sake and gives 10; here the limit is what is returned.
    #expect(text(socket.readLine(maxLength: 10)) == "0123456789")
    #expect(text(socket.readLine(maxLength: 10)) == "abcdef\n")
    #expect(!socket.canReadLine)
    #expect(text(socket.readLine()) == "rest")
    #expect(socket.readLine() == [])
    socket.close()
    #expect(socket.readLine() == nil)
  }

  @Test("C12: readyRead is not emitted from within itself (libevent's loop cannot nest, so a wait does)")
  func recursiveReadyRead() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var emissions = 0
    var waited = false
    socket.readyRead.connect {
      emissions += 1
      peer.send("more")
      waited = socket.waitForReadyRead(msec: 60_000)
    }
    peer.send("first")
    #expect(loop.run { emissions > 0 })
    #expect(waited)
    #expect(emissions == 1)
    #expect(text(socket.readAll()) == "firstmore")
  }

  @Test(
    "C15: what waitForReadyRead() has reported is not reported again by the loop",
    arguments: [true, false]
  )
  func readyReadAfterWait(reads: Bool) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var emissions = 0
    socket.readyRead.connect { emissions += 1 }
    peer.send("data")
    #expect(socket.waitForReadyRead(msec: 60_000))
    if reads {
      #expect(text(socket.readAll()) == "data")
    }
    loop.settle()
    #expect(emissions == 1)
  }

  @Test("C18: an open socket without data gives empty; an ended one what it holds, then nil for Qt's -1")
  func zeroAndMinusOne() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    #expect(socket.read(maxLength: 16) == [])
    #expect(socket.readLine() == [])
    #expect(socket.readAll() == [])
    #expect(socket.peek(maxLength: 1) == [])

    let recorder = Recorder(socket)
    peer.send("hello")
    peer.end()
    #expect(loop.run { recorder.isDisconnected })
    #expect(socket.write("x") == -1)
    #expect(socket.bytesAvailable == 5)
    #expect(text(socket.read(maxLength: 2)) == "he")
    #expect(text(socket.readLine()) == "llo")
    #expect(socket.read(maxLength: 1) == nil)
    #expect(socket.readLine() == nil)
    #expect(socket.readByteCount(4) == -1)
  }

  @Test("C18: after close() every read gives nil and write() -1")
  func minusOneAfterClose() throws {
    let (socket, peer) = try connectedPair(nil)
    peer.send("unread")
    #expect(socket.waitForReadyRead(msec: 60_000))
    socket.close()
    #expect(socket.read(maxLength: 1) == nil)
    #expect(socket.readLine() == nil)
    #expect(socket.readAll().isEmpty)
    #expect(socket.peek(maxLength: 1).isEmpty)
    #expect(socket.write("x") == -1)
  }

  @Test("C21: raising the read buffer's size resumes reading by itself; 0 is no limit")
  func increaseReadBufferSize() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.readBufferSize = 256
    socket.readyRead.connect {}
    peer.send(pattern(512))
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 512))
    #expect(loop.run { socket.bytesAvailable == 256 })
    loop.settle()
    #expect(socket.bytesAvailable == 256)
    socket.readBufferSize = 384
    #expect(loop.run { socket.bytesAvailable == 384 })
    socket.readBufferSize = 1024
    #expect(loop.run { socket.bytesAvailable == 512 })
    #expect(socket.readAll() == pattern(512))

    socket.readBufferSize = 256
    peer.send(pattern(512))
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 512))
    #expect(loop.run { socket.bytesAvailable == 256 })
    socket.readBufferSize = 0
    #expect(loop.run { socket.bytesAvailable == 512 })
    #expect(socket.readAll() == pattern(512))
  }

  @Test("C22: raising the read buffer's size within readyRead brings further readyReads")
  func increaseReadBufferSizeFromHandler() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.readBufferSize = 256
    var held: [Int] = []
    socket.readyRead.connect {
      held.append(socket.bytesAvailable)
      socket.readBufferSize = min(socket.readBufferSize + 128, 512)
    }
    peer.send(pattern(512))
    #expect(Descriptors.waitForBytes(socket.socketDescriptor, 256))
    #expect(loop.run { socket.bytesAvailable == 512 })
    #expect(held == [256, 384, 512])
    #expect(socket.readAll() == pattern(512))
  }

  @Test("C24: peek() shows what successive waits have gathered, and read() then takes it all")
  func peekAccumulates() throws {
    let (socket, peer) = try connectedPair(nil)
    var sent: [UInt8] = []
    for round in UInt8(0)..<5 {
      peer.send([round, round])
      sent += [round, round]
      #expect(socket.waitForReadyRead(msec: 60_000))
      #expect(socket.peek(maxLength: 1024) == sent)
      #expect(socket.peek(maxLength: 1) == [0])
    }
    #expect(socket.read(maxLength: 1024) == sent)
    #expect(socket.peek(maxLength: 1024).isEmpty)
  }

  @Test("C29: a full read buffer does not hinder writing")
  func writeOnReadBufferOverflow() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    socket.readBufferSize = 1
    socket.readyRead.connect {}
    peer.send("ab")
    #expect(loop.run { socket.bytesAvailable == 1 })
    #expect(socket.write("reply") == 5)
    #expect(text(peer.receive(exactly: 5)) == "reply")
    #expect(socket.bytesAvailable == 1)
    #expect(text(socket.readAll()) == "a")
    #expect(loop.run { socket.bytesAvailable == 1 })
    #expect(text(socket.readAll()) == "b")
  }
}
