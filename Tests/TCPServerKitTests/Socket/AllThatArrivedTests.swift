// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Reading without waiting gives what has arrived, all of it, wherever it was.
@Suite("Reading all that has arrived", .blocking)
struct AllThatArrivedTests {
  private static let count = 60_000

  private static func pair() throws -> (socket: TCPSocket, peer: PlainClient) {
    let (socket, peer) = try connectedPair(nil)
    peer.send(pattern(count))
    try #require(Descriptors.waitForBytes(socket.socketDescriptor, count))
    return (socket, peer)
  }

  @Test("without a loop", arguments: [false, true])
  func readAll(waits: Bool) throws {
    let (socket, peer) = try Self.pair()
    if waits { #expect(socket.waitForReadyRead(msec: 60_000)) }
    #expect(socket.readAll() == pattern(Self.count))
    peer.end()
  }

  @Test("up to a number of bytes, more than one piece of them")
  func maxLength() throws {
    let (socket, peer) = try Self.pair()
    #expect(socket.read(maxLength: 3) == Array(pattern(3)))
    #expect(socket.peek(maxLength: 50_000) == Array(pattern(Self.count)[3..<50_003]))
    #expect(socket.read(maxLength: 50_000)?.count == 50_000)
    #expect(socket.readByteCount(20_000) == Self.count - 50_003)
    peer.end()
  }

  @Test("a line longer than a piece")
  func line() throws {
    let (socket, peer) = try connectedPair(nil)
    let line = [UInt8](repeating: 97, count: 40_000) + [UInt8(ascii: "\n")]
    peer.send(line + [98])
    try #require(Descriptors.waitForBytes(socket.socketDescriptor, line.count + 1))
    #expect(socket.readLine() == line)
    #expect(socket.readLine() == [98])
  }

  @Test("lent")
  func lent() throws {
    let (socket, peer) = try Self.pair()
    var count = 0
    socket.readAll { count = $0.byteCount }
    #expect(count == Self.count)
    peer.end()
  }

  @Test("within the limit that the program has set")
  func limited() throws {
    let (socket, peer) = try Self.pair()
    socket.readBufferSize = 20_000
    #expect(socket.readAll().count == 20_000)
    peer.end()
  }

  // MARK: - Written before the connection

  @Test(
    "What is written while the connection is being made is sent once it is there",
    arguments: [5, 8 << 20]
  )
  func writtenBefore(count: Int) throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    try #require(server.listen())
    let socket = TCPSocket(eventBase: loop.base)
    let all = pattern(count)
    socket.connectToHost("localhost", port: server.serverPort)
    #expect(socket.state == .hostLookup)
    #expect(socket.write(all) == count)
    #expect(socket.bytesToWrite == count)
    #expect(!socket.flush())
    socket.finishWriting()
    var received: [UInt8] = []
    server.newConnection.connect { [unowned server] in
      let accepted = server.nextPendingConnection()
      accepted?.readyRead.connect { received += accepted?.readAll() ?? [] }
    }
    #expect(loop.run { received.count == count })
    #expect(Delivery.whole(received) == .whole(all))
  }

  @Test("Without a loop, and with an end that was asked for meanwhile", arguments: [5, 8 << 20])
  func writtenBeforeWithoutLoop(count: Int) throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let socket = TCPSocket(eventBase: nil)
    let all = pattern(count)
    socket.connectToHost(.localHost, port: server.serverPort)
    #expect(socket.write(all) == count)
    socket.disconnectFromHost()
    #expect(socket.waitForConnected(msec: 60_000) || socket.state == .closing)
    let accepted = try acceptedSocket(of: server)
    let peer = PlainClient(adopting: accepted.detach())
    let delivery = peer.readToEndElsewhere(thenEnds: true)
    #expect(socket.waitForDisconnected(msec: 60_000))
    #expect(delivery.join() == .whole(all))
  }
}
