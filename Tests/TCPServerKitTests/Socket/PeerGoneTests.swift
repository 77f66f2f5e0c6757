// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// A connected socket notices that its peer has gone, whatever it is at.
@Suite("Noticing that the peer has gone", .timeLimit(.minutes(5)))
struct PeerGoneTests {
  // MARK: - Handlers

  @Test("A reset after the peer's end, with this side open")
  func resetAfterEnd() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    var hasFinished = false
    socket.readChannelFinished.connect { hasFinished = true }
    peer.send("x")
    peer.endWriting()
    #expect(loop.run { hasFinished })
    #expect(socket.state == .connected)
    peer.reset()
    #expect(loop.run { recorder.isDisconnected })
    #expect(socket.state == .unconnected)
  }

  @Test("A reset with a full buffer; what was read stays")
  func resetWhileFull() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    socket.readBufferSize = 4
    peer.send("0123456789")
    #expect(loop.run { socket.bytesAvailable == 4 })
    loop.settle()
    peer.reset()
    #expect(loop.run { recorder.isDisconnected })
    #expect(text(socket.readAll()) == "0123")
  }

  @Test("A full buffer that is read again gets the rest, and the end behind it")
  func fullAndReadAgain() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    socket.readBufferSize = 4
    peer.send("0123456789")
    peer.endWriting()
    var all: [UInt8] = []
    #expect(
      loop.run {
        if socket.bytesAvailable == 4 || recorder.isDisconnected { all += socket.readAll() }
        return recorder.isDisconnected
      }
    )
    #expect(text(all + socket.readAll()) == "0123456789")
  }

  @Test("A reset while this side has more to send than the peer takes")
  func resetWhileSending() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    socket.readBufferSize = 4
    peer.send("0123456789")
    #expect(loop.run { socket.bytesAvailable == 4 })
    socket.hold(16 << 20)
    loop.settle()
    peer.reset()
    #expect(loop.run { recorder.isDisconnected })
  }

  @Test("Input that is not wanted does not keep the loop awake", arguments: [true, false])
  func doesNotSpin(hasHandlers: Bool) async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let socket = pair.socket
      if hasHandlers {
        socket.readBufferSize = 4
        socket.readyRead.connect {}
      }
      pair.client.send("line\n")
      if !hasHandlers { _ = try await socket.readLine() }
      pair.client.send([UInt8](repeating: 1, count: 300_000))
      pair.client.endWriting()
      try await base.sleep(for: .milliseconds(50))
      // Looks of the loop, and not its time: that depends on what else the machine does.
      let before = fault_calls(FAULT_EPOLL_WAIT)
      try await base.sleep(for: .milliseconds(200))
      #expect(fault_calls(FAULT_EPOLL_WAIT) - before < 50)
      withExtendedLifetime(pair) {}
    }
  }

  // MARK: - Tasks

  @Test(
    "A reset with no task reading gives the place back; what came before it is still read",
    arguments: [5, 300_000]
  )
  func resetWithoutReader(count: Int) async throws {
    try await onLoop { _ in
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      client.send("first\n")
      #expect(text(try await socket.readLine()) == "first\n")
      client.send([UInt8](repeating: 65, count: count))
      await turns()
      client.reset()
      try await until { server.statistics.live == 0 }
      #expect(socket.state == .unconnected)
      #expect(try await socket.read(exactly: 5) == [65, 65, 65, 65, 65])
    }
  }

  @Test(
    "Where places are limited, a reset of a connection that was never read, nor listened to, gives the place back"
  )
  func resetNeverRead() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.maxConnections = 10
      let clients = (0..<3).compactMap { _ in PlainClient(to: server) }
      var sockets: [TCPSocket] = []
      for _ in clients { sockets.append(try #require(await server.accept())) }
      clients[0].send("unread")
      await turns()
      #expect(sockets[0].bytesAvailable == 0, "left in the kernel for whoever gets the descriptor")
      for client in clients { client.reset() }
      try await until { server.statistics.live == 0 }
      #expect(sockets.allSatisfy { $0.state == .unconnected })
      #expect(text(sockets[0].readAll()) == "unread")
    }
  }

  @Test("A peer that ended is no longer connected once its end was read; it can still be answered")
  func endRead() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.endWriting()
      #expect(try await pair.socket.readLine() == nil)
      #expect(pair.socket.state == .closing)
      try await pair.socket.write("answer")
      let closing = start { await pair.socket.closeGracefully() }
      #expect(try await closing.value)
      #expect(pair.client.readToEnd() == .whole(Array("answer".utf8)))
    }
  }

  enum Going: CaseIterable, Sendable {
    case end, endBehindInput, reset, resetBehindInput, abort
  }

  @Test("A task that waits for the peer's end goes on, with or without a reader", arguments: Going.allCases)
  func waitUntilPeerEnded(going: Going) async throws {
    for hasReader in [true, false] {
      try await onLoop { _ in
        let pair = try await Pair()
        let waiting = start { try await pair.socket.waitUntilPeerEnded() }
        let reading = hasReader ? start { while try await pair.socket.read(maxLength: 100) != nil {} } : nil
        await turns(3)
        if going == .endBehindInput || going == .resetBehindInput {
          pair.client.send([UInt8](repeating: 1, count: 40_000))
        }
        switch going {
        case .end, .endBehindInput: pair.client.endWriting()
        case .reset, .resetBehindInput: pair.client.reset()
        case .abort: pair.socket.abort()
        }
        try await waiting.value
        try await pair.socket.waitUntilPeerEnded()
        _ = await reading?.result
      }
    }
  }

  @Test("So does one whose connection has bytes to write, whichever came first", arguments: [false, true])
  func endWhileWriting(writesFirst: Bool) async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let (socket, count) = (pair.socket, 32 << 20)
      let early = writesFirst ? start { try await socket.write([UInt8](repeating: 7, count: count)) } : nil
      let waiting = start { try await socket.waitUntilPeerEnded() }
      let writing = early ?? start { try await socket.write([UInt8](repeating: 7, count: count)) }
      await turns(3)
      #expect(socket.bytesToWrite > 0)
      pair.client.endWriting()
      try await waiting.value
      #expect(socket.bytesToWrite > 0)
      // What was seen once does not wake the loop again.
      let before = fault_calls(FAULT_EPOLL_WAIT)
      try await base.sleep(for: .milliseconds(200))
      #expect(fault_calls(FAULT_EPOLL_WAIT) - before < 50)
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return received == count
      }
      #expect(try await writing.value == count)
    }
  }

  @Test("Cancelled, it throws; without a loop it cannot wait")
  func waitingCancelled() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let waiting = start { try await pair.socket.waitUntilPeerEnded() }
      await turns(3)
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      await #expect(throws: SocketError.operation) {
        try await TCPSocket(eventBase: nil).waitUntilPeerEnded()
      }
    }
  }

  // MARK: - Blocking calls

  enum End: CaseIterable, Sendable {
    case end, reset, endWithData
  }

  @Test("Qt's blocking loop turns once after the peer's end", arguments: End.allCases)
  func blockingLoop(end: End) throws {
    let (socket, peer) = try connectedPair(nil)
    switch end {
    case .end: peer.end()
    case .reset: peer.reset()
    case .endWithData:
      peer.send("data")
      peer.end()
    }
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    var received = ""
    var vain = 0
    while socket.state == .connected && vain < 10 {
      if socket.waitForReadyRead(msec: 1000) {
        received += text(socket.readAll()) ?? ""
      } else {
        vain += 1
      }
    }
    #expect(vain == (end == .endWithData ? 0 : 1) || vain == 1)
    #expect(received == (end == .endWithData ? "data" : ""))
    #expect(socket.state != .connected)
  }

  @Test("The same with handlers, which are called once", arguments: End.allCases)
  func blockingLoopWithHandlers(end: End) throws {
    let (socket, peer) = try connectedPair(nil)
    let recorder = Recorder(socket)
    if end == .endWithData { peer.send("data") }
    end == .reset ? peer.reset() : peer.end()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    var turns = 0
    while socket.state == .connected && turns < 10 {
      socket.waitForReadyRead(msec: 1000)
      turns += 1
    }
    #expect(turns == (end == .endWithData ? 2 : 1))
    #expect(recorder.count(.disconnected) == 1)
    #expect(socket.state == .unconnected)
  }

  @Test(
    "A socket that is only polled, or only written to, is not connected for ever",
    arguments: [true, false]
  )
  func polled(reads: Bool) throws {
    let (socket, peer) = try connectedPair(nil)
    reads ? peer.end() : peer.reset()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    if reads {
      #expect(socket.read(maxLength: 10) == nil)
    } else {
      #expect(socket.write("x") == -1)
    }
    #expect(socket.state != .connected)
  }

  @Test("waitForDisconnected() notices a reset with a full buffer")
  func fullBufferInWait() throws {
    let (socket, peer) = try connectedPair(nil)
    socket.readBufferSize = 4
    peer.send("0123456789")
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(socket.bytesAvailable == 4)
    peer.reset()
    #expect(socket.waitForDisconnected(msec: 60_000))
  }
}
