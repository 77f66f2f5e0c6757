// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What a body is lent stays as it is until it returns, whatever else it does. The address sanitizer sees a span
/// whose memory is gone; the bytes show one whose memory was used for something else.
@Suite("Bytes lent to a body that reads on", .timeLimit(.minutes(5)))
struct LentBytesTests {
  private static let size = 40_000

  @Test("A wait in the body brings more, behind what is lent")
  func waits() throws {
    let (socket, peer) = try connectedPair(nil)
    peer.send("first")
    #expect(socket.waitForReadyRead(msec: 60_000))
    var lent: [UInt8] = []
    socket.readAll { span in
      peer.send([UInt8](repeating: 7, count: Self.size))
      while socket.bytesAvailable < Self.size, socket.waitForReadyRead(msec: 60_000) {}
      lent = copied(span)
    }
    #expect(text(lent) == "first")
    #expect(socket.readAll() == [UInt8](repeating: 7, count: Self.size))
  }

  @Test("What the body reads of the same socket is what comes after", arguments: [true, false])
  func nested(inHandler: Bool) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var seen: [String?] = []
    func read() {
      socket.readAll { outer in
        seen += [text(copied(outer)), text(socket.readAll())]
        #expect(socket.bytesAvailable == 0)
      }
    }
    if inHandler {
      socket.readyRead.connect { read() }
      peer.send("once")
      #expect(loop.run { !seen.isEmpty })
    } else {
      peer.send("once")
      #expect(Descriptors.waitForBytes(socket.socketDescriptor, 4))
      read()
    }
    #expect(seen == ["once", ""])
  }

  @Test("A task that the body starts reads another connection into other memory", arguments: [true, false])
  func otherConnection(withSignals: Bool) async throws {
    try await onLoop { _ in
      let (mine, other) = (try await Pair(), try await Pair())
      let secret = [UInt8](repeating: UInt8(ascii: "s"), count: Self.size)
      mine.client.send("mine")
      other.client.send(secret)
      #expect(Descriptors.waitForBytes(other.socket.socketDescriptor, Self.size))
      var lent: [UInt8] = []
      var task: Task<[UInt8], any Error>?
      func use(_ span: RawSpan) {
        task = start {
          var all: [UInt8] = []
          while all.count < Self.size { try await other.socket.read { all += copied($0) } }
          return all
        }
        lent = copied(span)
      }
      if withSignals {
        mine.socket.readyRead.connect { mine.socket.readAll { use($0) } }
        try await until { task != nil }
      } else {
        try await mine.socket.read { use($0) }
      }
      #expect(text(lent) == "mine")
      #expect(try await task?.value == secret)
    }
  }

  @Test("A body that closes the socket and releases it keeps its bytes")
  func released() throws {
    let loop = try Loop()
    var pair: (socket: TCPSocket, peer: PlainClient)? = try connectedPair(loop.base)
    var lent: [UInt8] = []
    pair?.socket.readyRead.connect {
      pair?.socket.readAll { span in
        pair?.socket.abort()
        pair = nil
        lent = copied(span)
      }
    }
    pair?.peer.send("mine")
    #expect(loop.run { pair == nil })
    #expect(text(lent) == "mine")
  }

  private func copied(_ span: RawSpan) -> [UInt8] {
    unsafe span.withUnsafeBytes { unsafe Array($0) }
  }
}
