import Glibc
import TCPServerKit
import Testing

@Suite("Options of the listening socket", .timeLimit(.minutes(5)))
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
}
