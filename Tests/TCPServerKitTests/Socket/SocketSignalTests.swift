// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// `readyRead` and `disconnected`, whose only handler an accepted socket keeps by itself.
@Suite("A socket's signals", .blocking)
struct SocketSignalTests {
  @Test("Handlers are called in order and disconnected one by one", arguments: [false, true])
  func handlers(disconnectsFirst: Bool) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var calls: [String] = []
    let first = socket.readyRead.connect { calls.append("first") }
    #expect(socket.readyRead.isConnected)
    #expect(!socket.disconnected.isConnected)
    let second = socket.readyRead.connect { calls.append("second \(socket.readAll().count)") }
    #expect(first != second)
    peer.send("data")
    #expect(loop.run { calls == ["first", "second 4"] })
    calls = []
    socket.readyRead.disconnect(disconnectsFirst ? first : second)
    socket.readyRead.emit()
    #expect(calls == (disconnectsFirst ? ["second 0"] : ["first"]))
    socket.readyRead.disconnectAll()
    #expect(!socket.readyRead.isConnected)
    peer.send("more")
    loop.settle()
    #expect(calls.count == 1)
  }

  @Test("A connection that has been disconnected is no later handler's")
  func staleConnection() throws {
    let (socket, _) = try connectedPair(EventBase())
    var calls = 0
    let first = socket.disconnected.connect { calls += 1 }
    socket.disconnected.disconnect(first)
    let second = socket.disconnected.connect { calls += 10 }
    socket.disconnected.disconnect(first)
    #expect(first != second)
    socket.abort()
    #expect(calls == 10)
    let third = socket.disconnected.connect { calls += 100 }
    #expect(third != first)
    socket.disconnected.disconnect(first)
    socket.disconnected.emit()
    #expect(calls == 110)
  }

  @Test("A handler without an argument and one with it are the same", arguments: [false, true])
  func forms(isFirst: Bool) throws {
    let (socket, _) = try connectedPair(EventBase())
    var calls: [String] = []
    if isFirst { socket.disconnected.connect { calls.append("plain") } }
    socket.disconnected.connect { (_: Void) in calls.append("with an argument") }
    if !isFirst { socket.disconnected.connect { calls.append("plain") } }
    socket.abort()
    #expect(calls == (isFirst ? ["plain", "with an argument"] : ["with an argument", "plain"]))
  }

  @Test("A signal that the program keeps stays its socket's")
  func kept() throws {
    let loop = try Loop()
    let (first, firstPeer) = try connectedPair(loop.base)
    let (second, secondPeer) = try connectedPair(loop.base)
    let (readyRead, disconnected) = (first.readyRead, first.disconnected)
    var calls: [String] = []
    second.readyRead.connect { calls.append("second \(second.readAll().count)") }
    second.disconnected.connect { calls.append("second ended") }
    readyRead.connect { calls.append("first \(first.readAll().count)") }
    disconnected.connect { calls.append("first ended") }
    firstPeer.send("a")
    #expect(loop.run { calls == ["first 1"] })
    secondPeer.send("bb")
    #expect(loop.run { calls == ["first 1", "second 2"] })
    firstPeer.end()
    #expect(loop.run { calls == ["first 1", "second 2", "first ended"] })
  }

  @Test("A signal that is kept longer than its socket does not keep it, and is harmless")
  func keptLonger() throws {
    var socket: TCPSocket?
    let peer: PlainClient
    (socket, peer) = try connectedPair(EventBase())
    weak let watched = socket
    let signal = try #require(socket?.disconnected)
    socket = nil
    #expect(watched == nil)
    var calls = 0
    let connection = signal.connect { calls += 1 }
    signal.emit()
    #expect(calls == 1)
    signal.disconnect(connection)
    #expect(!signal.isConnected)
    peer.end()
  }

  @Test("What the handlers of a socket capture that another thread releases is released on the loop's thread")
  func releasedElsewhere() throws {
    final class Witness {
      let released: @Sendable (Bool) -> Void
      init(_ released: @escaping @Sendable (Bool) -> Void) { self.released = released }
      deinit { released(EventBase.current != nil) }
    }
    let base = try EventBase()
    let onLoop = Counter()
    base.execute {
      guard let (socket, peer) = try? connectedPair(base) else { return base.stop() }
      let witness = Witness { isOnLoop in
        if isOnLoop { onLoop.increment() }
        base.stop()
      }
      socket.disconnected.connect { withExtendedLifetime((witness, peer)) {} }
      let kept = Locked<TCPSocket?>(socket)
      // With no room for more input, the loop does not keep it.
      socket.readBufferSize = 1
      socket.readyRead.connect {
        base.execute { OtherThread { kept.withLock { $0 = nil } }.join() }
      }
      peer.send("ab")
    }
    OtherThread { base.run() }.join()
    #expect(onLoop.value == 1)
  }
}
