// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("A socket's lifetime", .blocking)
struct SocketLifetimeTests {
  @Test("A socket with a handler lives without references until its peer closes, and then goes")
  func keptByLoop() throws {
    let loop = try Loop()
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(loop.base)
    var received = 0
    socket?.readyRead.connect { [weak socket] in received += socket?.readAll().count ?? 0 }
    weak let watched = socket
    socket = nil
    #expect(watched != nil)
    for round in 1...3 {
      peer.send("data")
      #expect(loop.run { received == round * 4 })
    }
    peer.end()
    #expect(loop.run { watched == nil })
  }

  @Test("A socket whose last reference another thread releases ends on its loop, while that runs")
  func releasedElsewhere() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    let kept = Locked<TCPSocket?>(server.nextPendingConnection())
    #expect(server.statistics.live == 1)
    loop.base.execute { OtherThread { kept.withLock { $0 = nil } }.join() }
    var input = PlainClient.Input.nothing
    #expect(
      loop.run {
        input = client.input()
        return input != .nothing
      }
    )
    #expect(input == .end)
    #expect(server.statistics.live == 0)
  }

  @Test("A strong capture of an accepted socket in all its handlers does not leak", arguments: 0..<4)
  func strongCapture(ending: Int) throws {
    let loop = try Loop()
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(loop.base)
    weak let watched = socket
    if let socket {
      socket.readyRead.connect { _ = socket.readAll() }
      socket.bytesWritten.connect { _ in _ = socket.state }
      socket.errorOccurred.connect { _ in _ = socket.state }
      socket.disconnected.connect { _ = socket.state }
      if ending == 1 {
        socket.readChannelFinished.connect { socket.close() }
      }
      socket.write("hello")
    }
    switch ending {
    case 0, 1: peer.end()
    case 2: socket?.abort()
    default: Descriptors.closeIfOpen(socket?.detach() ?? -1)
    }
    socket = nil
    #expect(loop.run { watched == nil })
  }

  @Test("The handlers' captures are released after disconnected")
  func capturesReleased() throws {
    final class Captured {}
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var captured: Captured? = Captured()
    weak let watched = captured
    var disconnected = 0
    socket.readyRead.connect { [captured] in _ = captured }
    socket.disconnected.connect { [captured] in
      _ = captured
      disconnected += 1
    }
    captured = nil
    #expect(watched != nil)
    peer.end()
    #expect(loop.run { disconnected == 1 })
    #expect(watched == nil)
  }

  @Test("Releasing the last reference within each kind of handler is harmless")
  func releasedInHandlers() throws {
    let loop = try Loop()
    for kind in 0..<4 {
      var socket: TCPSocket?
      let peer: PlainClient
      (socket, peer) = try connectedPair(loop.base)
      weak let watched = socket
      var called = false
      let release = {
        called = true
        socket?.abort()
        socket = nil
      }
      switch kind {
      case 0: socket?.readyRead.connect { release() }
      case 1: socket?.bytesWritten.connect { _ in release() }
      case 2: socket?.errorOccurred.connect { _ in release() }
      default: socket?.disconnected.connect { release() }
      }
      socket?.write("x")
      peer.send("x")
      if kind > 1 {
        peer.end()
      }
      #expect(loop.run { called }, "kind \(kind)")
      #expect(loop.run { watched == nil }, "kind \(kind)")
    }
  }

  @Test("A server released in the handler of its own newConnection stops, and its connection lives on")
  func serverReleased() throws {
    let loop = try Loop()
    var server: TCPServer? = TCPServer(eventBase: loop.base)
    weak let watched = server
    #expect(server?.listen(address: .localHost) == true)
    let port = server?.serverPort ?? 0
    var accepted: TCPSocket?
    server?.newConnection.connect {
      accepted = server?.nextPendingConnection()
      server = nil
    }
    let peer = try #require(PlainClient(port: port))
    #expect(loop.run { accepted != nil })
    #expect(watched == nil)
    accepted?.write("still here")
    #expect(text(peer.receive(exactly: 10)) == "still here")
    #expect(PlainClient(port: port) == nil)
  }

  @Test("A server's handlers go with it, and not with the last of its connections")
  func handlersReleased() throws {
    final class Captured {}
    let loop = try Loop()
    var server: TCPServer? = TCPServer(eventBase: loop.base)
    var captured: [Captured] = (0..<5).map { _ in Captured() }
    let areGone = captured.map { object in { [weak object] in object == nil } }
    server?.newConnection.connect { [object = captured[0]] in _ = object }
    server?.pendingConnectionAvailable.connect { [object = captured[1]] in _ = object }
    server?.acceptError.connect { [object = captured[2]] _ in _ = object }
    server?.connectionRejected.connect { [object = captured[3]] _ in _ = object }
    server?.admissionHandler = { [object = captured[4]] _, _ in
      _ = object
      return .admit
    }
    captured = []
    #expect(server?.listen(address: .localHost) == true)
    let peer = try #require(PlainClient(port: server?.serverPort ?? 0))
    #expect(loop.run { server?.hasPendingConnections == true })
    let accepted = try #require(server?.nextPendingConnection())
    #expect(areGone.map { $0() } == [false, false, false, false, false])
    server = nil
    #expect(areGone.map { $0() } == [true, true, true, true, true])
    accepted.write("still here")
    #expect(text(peer.receive(exactly: 10)) == "still here")
  }

  @Test("Releasing the loop aborts the sockets that wait on it, and calls their handlers")
  func loopReleased() throws {
    var base: EventBase? = try EventBase()
    weak let watchedBase = base
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(base)
    weak let watched = socket
    var disconnected = 0
    socket?.readyRead.connect {}
    socket?.disconnected.connect { disconnected += 1 }
    socket = nil
    #expect(watched != nil)
    base = nil
    #expect(watchedBase == nil)
    #expect(disconnected == 1)
    #expect(watched == nil)
    #expect(peer.nextInput() == .failed(ECONNRESET))
  }

  @Test("A socket that is held outlives its loop and can still be used with waits")
  func socketOutlivesLoop() throws {
    var base: EventBase? = try EventBase()
    let (socket, peer) = try connectedPair(base)
    base = nil
    #expect(socket.state == .connected, "nothing waited on the loop")
    peer.send("data")
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(text(socket.readAll()) == "data")
    #expect(socket.write("reply") == 5)
    #expect(text(peer.receive(exactly: 5)) == "reply")
    socket.disconnectFromHost()
    #expect(peer.nextInput() == .end)
  }

  @Test("A thousand connections that come and go leave no socket and no descriptor behind")
  func manyConnections() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.listen(address: .localHost))
    var live = 0
    var ended = 0
    var files: [OpenFile] = []
    server.newConnection.connect {
      guard let socket = server.nextPendingConnection() else { return }
      live += 1
      if let file = OpenFile(socket.socketDescriptor) { files.append(file) }
      socket.readyRead.connect { socket.write(socket.readAll()) }
      socket.disconnected.connect {
        live -= 1
        ended += 1
      }
    }
    for round in 1...20 {
      let peers = try (0..<50).map { _ in try #require(PlainClient(to: server)) }
      peers.forEach { $0.send("ping") }
      #expect(loop.run { ended + live == round * 50 })
      loop.settle(turns: 3)
      peers.forEach { $0.end() }
      #expect(loop.run { live == 0 })
    }
    #expect(ended == 1000)
    #expect(files.allSatisfy { !$0.isOpen })
    expectBalanced(server)
  }
}
