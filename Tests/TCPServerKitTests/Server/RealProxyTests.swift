// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// The same through proxies that others have made.
@Suite("Listening through a real proxy", .blocking, .timeLimit(.minutes(5)))
struct RealProxyTests {
  private static let cycles = 1000

  private func listening(_ proxy: RealProxy, on base: EventBase?) throws -> TCPServer {
    let server = TCPServer(eventBase: base)
    server.proxy = proxy.proxy
    try #require(server.listen(), "\(server.errorString)")
    return server
  }

  /// One peer: its connection, and the server's socket for it.
  private func connect(to server: TCPServer, _ loop: Loop) throws -> (PlainClient, TCPSocket) {
    let client = try #require(PlainClient(server.serverAddress.description, port: server.serverPort))
    try #require(loop.run { server.hasPendingConnections }, "\(server.errorString)")
    return (client, try #require(server.nextPendingConnection()))
  }

  @Test(
    "K02: Dante carries a thousand connections one after the other, data both ways, with the right addresses",
    .enabled(if: RealProxy.isWanted(RealProxy.dantePath), "Dante is not installed")
  )
  func cycles() throws {
    let proxy = try RealProxy.dante()
    let loop = try Loop()
    let server = try listening(proxy, on: loop.base)
    #expect(server.serverAddress == .localHost)
    var errors: [SocketError] = []
    var moves = 0
    server.acceptError.connect { errors.append($0) }
    server.serverAddressChanged.connect { moves += 1 }
    for _ in 0..<Self.cycles {
      try #require(loop.run { !server.proxyBindings.isEmpty })
      let (client, socket) = try connect(to: server, loop)
      #expect(socket.peerAddress == .localHost)
      #expect(socket.peerPort == client.port)
      socket.write("Greetings!")
      #expect(client.receive(exactly: 10) == Array("Greetings!".utf8))
      client.send("Well, hello to you!")
      while socket.bytesAvailable < 19, socket.waitForReadyRead(msec: 60_000) {}
      #expect(socket.readAll() == Array("Well, hello to you!".utf8))
      client.end()
      #expect(socket.waitForDisconnected(msec: 60_000))
    }
    #expect(errors == [])
    #expect(server.isListening)
    #expect(server.statistics.accepted == UInt64(Self.cycles))
    #expect(moves <= Self.cycles)
    expectBalanced(server)
  }

  @Test(
    "Cycles through Dante leave no descriptor open",
    .enabled(if: RealProxy.isWanted(RealProxy.dantePath), "Dante is not installed")
  )
  func census() async {
    await #expect(processExitsWith: .success) {
      let proxy = try RealProxy.dante()
      var counts: [Int] = []
      for round in 0..<3 {
        let loop = try Loop()
        let server = TCPServer(eventBase: loop.base)
        server.proxy = proxy.proxy
        server.proxyListenOptions.simultaneousBindings = 3
        guard server.listen() else { fatalError(server.errorString) }
        for _ in 0..<20 {
          guard loop.run(until: { !server.proxyBindings.isEmpty }),
            let client = PlainClient(port: server.serverPort),
            loop.run(until: { server.hasPendingConnections }),
            let socket = server.nextPendingConnection()
          else { fatalError("round \(round): \(server.errorString)") }
          socket.write("x")
          guard client.receive(exactly: 1) == [120] else { fatalError("no data") }
        }
        server.close()
        counts.append(Descriptors.census().sockets)
      }
      guard counts[0] == counts[1], counts[1] == counts[2] else { fatalError("\(counts)") }
    }
  }

  @Test(
    "A wish for a port is granted, and a large transfer arrives whole in both directions",
    .enabled(if: RealProxy.isWanted(RealProxy.dantePath), "Dante is not installed")
  )
  func transfer() throws {
    let proxy = try RealProxy.dante()
    let server = try listeningWhereWished(proxy)
    let client = try #require(PlainClient(port: server.serverPort))
    try #require(server.waitForNewConnection(msec: 60_000))
    let socket = try #require(server.nextPendingConnection())
    let bytes = pattern(3_000_000)
    let received = client.readToEndElsewhere()
    #expect(socket.write(bytes) == bytes.count)
    while socket.bytesToWrite > 0, socket.waitForBytesWritten(msec: 60_000) {}
    socket.finishWriting()
    #expect(received.join() == .whole(bytes), "what the server sent")
    let sender = Background { [descriptor = client.descriptor] in
      let client = PlainClient(adopting: descriptor)
      defer { client.forget() }
      return client.send(bytes)
    }
    var answer: [UInt8] = []
    while answer.count < bytes.count, socket.waitForReadyRead(msec: 60_000) { answer += socket.readAll() }
    #expect(sender.join() == bytes.count)
    #expect(Delivery.whole(answer) == .whole(bytes), "what the client sent")
    expectBalanced(server)
  }

  /// Dante binds another port where the one that is wished for is in use, and none can be kept for it.
  private func listeningWhereWished(_ proxy: RealProxy) throws -> TCPServer {
    for _ in 0..<100 {
      let server = TCPServer(eventBase: nil)
      server.proxy = proxy.proxy
      let free = try ReservedPort().number
      try #require(server.listen(port: free), "\(server.errorString)")
      if server.serverPort == free { return server }
    }
    throw ReservedPort.None()
  }

  @Test(
    "Dante goes away: reported once, and a new one on its port is found",
    .enabled(if: RealProxy.isWanted(RealProxy.dantePath), "Dante is not installed")
  )
  func goesAway() throws {
    let loop = try Loop()
    var proxy: RealProxy? = try RealProxy.dante()
    let server = try listening(try #require(proxy), on: loop.base)
    var errors: [SocketError] = []
    server.acceptError.connect { errors.append($0) }
    let port = try #require(proxy).reserved
    proxy = nil
    #expect(loop.run { !errors.isEmpty })
    #expect(errors == [.proxyConnectionClosed])
    let again = try RealProxy.dante(on: port)
    #expect(loop.run { !server.proxyBindings.isEmpty })
    let (client, socket) = try connect(to: server, loop)
    #expect(socket.peerPort == client.port)
    #expect(errors.count == 1)
    withExtendedLifetime(again) {}
    expectBalanced(server)
  }

  @Test(
    "microsocks knows no BIND, and says so",
    .enabled(if: RealProxy.isWanted(RealProxy.microsocksPath), "microsocks is not installed")
  )
  func noBind() throws {
    let proxy = try RealProxy.microsocks()
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy.proxy
    #expect(!server.listen())
    #expect(server.serverError == .unsupportedSocketOperation)
    let place = "(SOCKS5 proxy 127.0.0.1:\(proxy.port), set on this server)"
    #expect(server.errorString == "SOCKSv5 command not supported \(place)")
    #expect(server.socketDescriptor == -1)
  }

  @Test(
    "microsocks checks user and password; wrong ones, and none, are refused",
    .enabled(if: RealProxy.isWanted(RealProxy.microsocksPath), "microsocks is not installed")
  )
  func credentials() throws {
    let proxy = try RealProxy.microsocks(user: "me", password: "secret")
    let server = TCPServer(eventBase: nil)
    server.proxy = proxy.proxy
    for (user, password, error) in [
      ("me", "secret", SocketError.unsupportedSocketOperation), ("me", "wrong", .proxyAuthenticationRequired),
      ("", "", .proxyAuthenticationRequired),
    ] {
      server.proxy.user = user
      server.proxy.password = password
      #expect(!server.listen())
      #expect(server.serverError == error, "\(server.errorString)")
    }
  }
}
