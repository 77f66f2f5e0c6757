// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What porters from Qt look for: a socket as a device, its states, and a local address to connect from.
@Suite("A socket as a device")
struct SocketDeviceTests {
  @Test("skip() throws input away, and says how much")
  func skip() throws {
    let (socket, peer) = try connectedPair(nil)
    #expect(socket.skip(10) == 0)
    peer.send("0123456789")
    #expect(socket.waitForReadyRead(msec: 10000))
    #expect(!socket.atEnd)
    #expect(socket.skip(4) == 4)
    #expect(text(socket.read(maxLength: 2)) == "45")
    peer.end()
    #expect(Descriptors.waitEnded(socket.socketDescriptor))
    #expect(socket.skip(100) == 4)
    #expect(socket.atEnd)
    #expect(socket.skip(1) == -1)
  }

  @Test("What is open and what is valid")
  func open() throws {
    #expect(!TCPSocket(eventBase: nil).isOpen)
    #expect(!TCPSocket(eventBase: nil).isValid)
    let (socket, peer) = try connectedPair(nil)
    #expect(socket.isOpen && socket.isValid)
    peer.send("rest")
    peer.end()
    #expect(socket.waitForReadyRead(msec: 10000))
    #expect(socket.waitForDisconnected(msec: 10000))
    #expect(socket.isOpen && !socket.isValid)
    _ = socket.readAll()
    #expect(!socket.isOpen)
  }

  @Test("A transaction gives back what was read, whichever call read it")
  func transactions() throws {
    let (socket, peer) = try connectedPair(nil)
    peer.send("head:line\nrest")
    #expect(socket.waitForReadyRead(msec: 10000))
    for _ in 0..<2 {
      socket.startTransaction()
      #expect(socket.isTransactionStarted)
      #expect(text(socket.read(maxLength: 5)) == "head:")
      #expect(text(socket.readLine()) == "line\n")
      #expect(socket.skip(1) == 1)
      var lent = ""
      socket.readAll {
        lent = unsafe $0.withUnsafeBytes { String(decoding: unsafe Array($0), as: UTF8.self) }
      }
      #expect(lent == "est")
      socket.rollbackTransaction()
    }
    peer.send("!")
    #expect(socket.waitForReadyRead(msec: 10000))
    socket.startTransaction()
    _ = socket.readAll()
    socket.commitTransaction()
    socket.rollbackTransaction()
    #expect(!socket.isTransactionStarted)
    #expect(socket.readAll().isEmpty)
    peer.end()
  }

  @Test("A message in pieces is read when it is whole, in handlers")
  func pieces() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var messages: [String] = []
    socket.readyRead.connect { [unowned socket] in
      socket.startTransaction()
      guard let count = socket.read(maxLength: 1)?.first, let body = socket.read(maxLength: Int(count)),
        body.count == count
      else { return socket.rollbackTransaction() }
      socket.commitTransaction()
      messages.append(text(body) ?? "")
    }
    for piece in [[5], Array("he".utf8), Array("llo".utf8)] {
      peer.send(piece)
      loop.settle()
    }
    #expect(loop.run { !messages.isEmpty })
    #expect(messages == ["hello"])
  }

  @Test("A read that waits is refused within a transaction")
  func asyncWithinTransaction() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.startTransaction()
      await #expect(throws: SocketError.operation) { try await pair.socket.readLine() }
      pair.socket.rollbackTransaction()
      pair.client.send("line\n")
      #expect(text(try await pair.socket.readLine()) == "line\n")
    }
  }

  @Test("stateChanged has each state, in order")
  func stateChanged() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    try #require(server.listen())
    let socket = TCPSocket(eventBase: loop.base)
    var states: [SocketState] = []
    socket.stateChanged.connect { states.append($0) }
    #expect(socket.bind())
    socket.connectToHost("localhost", port: server.serverPort)
    #expect(loop.run { socket.state == .connected })
    socket.disconnectFromHost()
    let accepted = try acceptedSocket(of: server)
    accepted.disconnectFromHost()
    #expect(loop.run { socket.state == .unconnected })
    #expect(states == [.bound, .hostLookup, .connecting, .connected, .closing, .unconnected])
  }

  // MARK: - bind()

  @Test("A socket connects from what it was bound to", arguments: [HostAddress.any, .localHost])
  func bind(address: HostAddress) throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen())
    let socket = TCPSocket(eventBase: nil)
    #expect(socket.bind(address: address))
    #expect(socket.state == .bound)
    let port = socket.localPort
    #expect(port != 0)
    #expect(!socket.bind(), "twice")
    #expect(socket.errorString.contains("bind() called on a socket in use, or without an address"))
    socket.connectToHost(.localHost, port: server.serverPort)
    #expect(socket.waitForConnected(msec: 10000))
    #expect(try acceptedSocket(of: server).peerPort == port)
  }

  @Test("A socket bound to every address reaches IPv6 hosts as well", .enabled(if: Machine.hasIPv6))
  func bindIPv6() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHostIPv6))
    let socket = TCPSocket(eventBase: nil)
    #expect(socket.bind())
    let port = socket.localPort
    socket.connectToHost("[::1]", port: server.serverPort)
    #expect(socket.waitForConnected(msec: 10000))
    #expect(try acceptedSocket(of: server).peerPort == port)
  }

  @Test("What cannot be bound says why, and a bound socket lets go")
  func bindFails() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let socket = TCPSocket(eventBase: nil)
    #expect(!socket.bind(address: .localHost, port: server.serverPort))
    #expect(socket.error == .addressInUse)
    #expect(!socket.bind(address: .null))
    #expect(socket.state == .unconnected)
    #expect(socket.bind(address: .localHost))
    socket.disconnectFromHost()
    #expect(socket.state == .unconnected && !socket.isValid)
    #expect(socket.bind(address: .localHost))
    if Machine.hasIPv6 {
      socket.connectToHost(.localHostIPv6, port: 1)
      #expect(!socket.waitForConnected(msec: 10000))
      #expect(socket.error == .socketAddressNotAvailable)
    }
  }
}
