// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Options of the listening socket", .blocking, .timeLimit(.minutes(5)))
struct ServerOptionTests {
  private static let options: [(SocketOption, Int)] = [
    (.lowDelay, 1), (.keepAlive, 1), (.typeOfService, 0x20), (.sendBufferSize, 32768),
    (.receiveBufferSize, 65536), (.keepAliveIdle, 77), (.keepAliveInterval, 7), (.keepAliveCount, 3),
    (.userTimeout, 5000),
  ]

  private func expectInherited(_ server: TCPServer) throws {
    let client = try #require(PlainClient(to: server))
    let socket = try acceptedSocket(of: server)
    for (option, value) in Self.options {
      // The kernel doubles a buffer, and makes of 1 what it likes.
      let found = try #require(socket.socketOption(option))
      let isBuffer = option == .sendBufferSize || option == .receiveBufferSize
      #expect(found == (isBuffer ? value * 2 : value), "\(option)")
      #expect(server.socketOption(option) == found)
    }
    withExtendedLifetime(client) {}
  }

  @Test(
    "Set before listening, connections have them, each time the server listens",
    arguments: [false, true]
  )
  func before(ipv6: Bool) throws {
    guard !ipv6 || Machine.hasIPv6 else { return }
    let server = TCPServer(eventBase: nil)
    for (option, value) in Self.options {
      #expect(server.setSocketOption(option, value))
      #expect(server.socketOption(option) == value)
    }
    for _ in 0..<2 {
      try #require(server.listen(address: ipv6 ? .localHostIPv6 : .localHost))
      try expectInherited(server)
      server.close()
    }
  }

  @Test("Set while listening, also on a socket taken over, they hold from then on")
  func after() throws {
    let server = TCPServer(eventBase: nil)
    server.setSocketOption(.keepAlive, 1)
    let descriptor = Descriptors.listening()
    try #require(server.setSocketDescriptor(descriptor))
    // A socket taken over comes with its own.
    #expect(server.socketOption(.keepAlive) == 0)
    for (option, value) in Self.options { #expect(server.setSocketOption(option, value)) }
    try expectInherited(server)
    server.close()
    try #require(server.listen(address: .localHost))
    try expectInherited(server)
  }

  @Test("What the kernel refuses is refused, by the call or by listen()")
  func refused() throws {
    let server = TCPServer(eventBase: nil)
    #expect(!server.setSocketOption(.pathMtu, 1500))
    #expect(!server.setSocketOption(.keepAliveIdle, .max))
    #expect(server.socketOption(.keepAliveIdle) == nil)
    #expect(server.setSocketOption(.keepAliveIdle, 0))
    #expect(!server.listen(address: .localHost))
    #expect(!server.isListening && server.socketDescriptor == -1)
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(server.errorString == "A socket option was refused")

    server.setSocketOption(.keepAliveIdle, 60)
    try #require(server.listen(address: .localHost))
    #expect(!server.setSocketOption(.keepAliveIdle, 0))
    #expect(server.socketOption(.keepAliveIdle) == 60)
    server.close()
    #expect(server.listen(address: .localHost))
  }

  @Test("They are set before the socket is bound, and so is what a program prepares itself")
  func beforeBinding() throws {
    let server = TCPServer(eventBase: nil)
    for (option, value) in Self.options { server.setSocketOption(option, value) }
    var seen: [CInt?] = []
    server.socketPreparation = { descriptor in
      seen.append(Descriptors.option(descriptor, CInt(IPPROTO_TCP), TCP_KEEPIDLE))
      seen.append(Endpoint(localOf: descriptor).map { CInt($0.port) })
      return Descriptors.setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) ? 0 : errno
    }
    try #require(server.listen(address: .localHost))
    #expect(seen == [77, 0])
    #expect(Descriptors.option(server.socketDescriptor, SOL_SOCKET, SO_REUSEPORT) == 1)
    server.close()
    server.socketPreparation = { _ in EACCES }
    #expect(!server.listen(address: .localHost))
    #expect(server.serverError == .socketAccess)
    server.socketPreparation = nil
    #expect(server.listen(address: .localHost))
  }

  @Test(
    "Small writes go out at once, on accepted connections and on others, unless a program wants otherwise"
  )
  func lowDelay() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.socketOption(.lowDelay) == 1)
    try #require(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: nil)
    client.connectToHost(.localHost, port: server.serverPort)
    try #require(client.waitForConnected(msec: 10000))
    #expect(client.socketOption(.lowDelay) == 1)
    #expect(try acceptedSocket(of: server).socketOption(.lowDelay) == 1)
    server.setSocketOption(.lowDelay, 0)
    let plain = try #require(PlainClient(to: server))
    #expect(try acceptedSocket(of: server).socketOption(.lowDelay) == 0)
    plain.end()
  }

  enum Way: CaseIterable {
    case accepted, acceptedOfAdopted, connected, adopted
  }

  @Test("Urgent bytes are in the stream, whichever way the connection came", arguments: Way.allCases)
  func urgentBytes(way: Way) throws {
    let server = TCPServer(eventBase: nil)
    if way == .acceptedOfAdopted {
      try #require(server.setSocketDescriptor(Descriptors.listening()))
    } else {
      try #require(server.listen(address: .localHost))
    }
    let socket: TCPSocket
    let peer: CInt
    let client = TCPSocket(eventBase: nil)
    if way == .connected || way == .adopted {
      let listener = Descriptors.listening()
      defer { close(listener) }
      let port = try #require(Endpoint(localOf: listener)).port
      if way == .connected {
        client.connectToHost(.localHost, port: port)
        try #require(client.waitForConnected(msec: 10000))
        peer = accept(listener, nil, nil)
      } else {
        let plain = try #require(PlainClient(port: port))
        try #require(client.setSocketDescriptor(plain.descriptor))
        plain.forget()
        peer = accept(listener, nil, nil)
      }
      socket = client
    } else {
      let plain = try #require(PlainClient(to: server))
      peer = plain.descriptor
      plain.forget()
      socket = try acceptedSocket(of: server)
    }
    defer { close(peer) }
    var byte: UInt8 = 97
    for flags in [0, CInt(MSG_OOB), 0] {
      unsafe _ = send(peer, &byte, 1, flags)
      byte += 1
    }
    var received: [UInt8] = []
    while received.count < 3, socket.waitForReadyRead(msec: 10000) { received += socket.readAll() }
    #expect(text(received) == "abc")
  }
}
