// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// Sockets by their names, and servers that listen on them.
@Suite("Inherited sockets", .timeLimit(.minutes(5)))
struct InheritedSocketsTests {
  /// Listeners of these names.
  private func inherited(_ names: String...) throws -> (InheritedSockets, [OpenFile]) {
    let sockets = InheritedSockets()
    let files = try names.map { name in
      let descriptor = Descriptors.listening()
      try #require(sockets.add(descriptor, named: name))
      return try #require(OpenFile(descriptor))
    }
    return (sockets, files)
  }

  @Test("A descriptor belongs to the object until it is taken, and is closed with it otherwise")
  func ownership() throws {
    var (sockets, files): (InheritedSockets?, [OpenFile]) = try inherited("http", "admin", "http")
    #expect(sockets?.names == ["http", "admin", "http"])
    #expect(sockets?.add(-1, named: "none") == false)
    #expect(sockets?.takeDescriptor(named: "http") == files[0].descriptor)
    #expect(sockets?.takeDescriptor(named: "http") == files[2].descriptor)
    #expect(sockets?.takeDescriptor(named: "http") == nil)
    #expect(sockets?.names == ["admin"])
    sockets = nil
    #expect(files.map(\.isOpen) == [true, false, true])
    close(files[0].descriptor)
    close(files[2].descriptor)
  }

  @Test("What nothing has taken is closed on request")
  func closing() throws {
    let (sockets, files) = try inherited("http", "admin")
    let taken = try #require(sockets.takeDescriptor(named: "admin"))
    sockets.closeRest()
    #expect(sockets.names == [])
    #expect(files.map(\.isOpen) == [false, true])
    close(taken)
  }

  @Test("A server listens on the first free socket of its name, or else on its address")
  func server() async throws {
    try await onLoop { base in
      let (sockets, files) = try inherited("admin", "http", "http")
      let servers = (0..<3).map { _ in TCPServer(eventBase: base) }
      for server in servers {
        #expect(server.listen(on: .inherited("http", from: sockets, orListen: .localHost, port: 0)))
      }
      #expect(servers[0].socketDescriptor == files[1].descriptor)
      #expect(servers[1].socketDescriptor == files[2].descriptor)
      #expect(servers[2].isListening)
      #expect(sockets.names == ["admin"])
      for server in servers {
        let client = try #require(PlainClient(to: server))
        #expect(try await server.accept()?.peerPort == client.port)
      }
      let plain = TCPServer(eventBase: base)
      #expect(plain.listen(on: .address(.localHost, port: 0)))
      #expect(plain.serverAddress == .localHost)
    }
  }

  @Test("A server that cannot take the socket leaves it to others")
  func refused() async throws {
    try await onLoop { base in
      let (sockets, files) = try inherited("http")
      let server = try listening(on: base)
      let source = ListenerSource.inherited("http", from: sockets, port: 0)
      #expect(!server.listen(on: source))
      #expect(server.errorString == "setSocketDescriptor() called when already listening")
      #expect(sockets.names == ["http"])
      #expect(files[0].isOpen)
      server.close()
      #expect(server.listen(on: source))
      #expect(server.socketDescriptor == files[0].descriptor)
    }
  }

  @Test("One that a server is taking over is closed only if the server does not", arguments: [false, true])
  func closingMeanwhile(isTaken: Bool) throws {
    let (sockets, files) = try inherited("http", "admin", "http")
    let reserved = sockets.reserveListeners(named: "http", 1)
    sockets.closeRest()
    #expect(files.map(\.isOpen) == [true, false, false])
    #expect(sockets.names == ["http"])
    sockets.end(reserved, areTaken: isTaken)
    #expect(files[0].isOpen == isTaken)
    #expect(sockets.names == [])
    if isTaken { close(files[0].descriptor) }
  }

  @Test("A group listens though the rest is closed meanwhile", arguments: Distribution.eachWay)
  func groupWhileClosing(distribution: Distribution) async throws {
    try await onLoops(1) { loops in
      let (sockets, files) = try inherited("http", "admin")
      let server = TCPServerGroup(on: loops, distribution: distribution) { _ in sockets.closeRest() }
      try await server.listen(on: .inherited("http", from: sockets, port: 0))
      #expect(files.map(\.isOpen) == [true, false])
      try await whileServing(server) { socket in
        try await socket.write("x")
      } _: {
        let client = try #require(PlainClient(to: server))
        #expect(client.receive(exactly: 1) == [UInt8(ascii: "x")])
      }
    }
  }

  @Test("A descriptor of another kind is no server's")
  func otherKinds() async throws {
    try await onLoop { base in
      let sockets = InheritedSockets()
      let datagram = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
      try #require(sockets.add(datagram, named: "http"))
      let server = TCPServer(eventBase: base)
      #expect(server.listen(on: .inherited("http", from: sockets, orListen: .localHost, port: 0)))
      #expect(server.socketDescriptor != datagram)
      #expect(sockets.takeDescriptor(named: "http") == datagram)
      close(datagram)
    }
  }

  @Test("A group listens on a socket of its name, however it distributes", arguments: Distribution.eachWay)
  func group(distribution: Distribution) async throws {
    try await onLoops(1) { loops in
      let (sockets, files) = try inherited("admin", "http")
      let server = TCPServerGroup(on: loops, distribution: distribution)
      try await server.listen(on: .inherited("http", from: sockets, orListen: .localHost, port: 0))
      #expect(sockets.names == ["admin"])
      #expect(files[1].isOpen)
      try await whileServing(server) { socket in
        try await socket.write("x")
      } _: {
        let client = try #require(PlainClient(to: server))
        #expect(client.receive(exactly: 1) == [UInt8(ascii: "x")])
      }
      let other = TCPServerGroup(on: loops, distribution: distribution)
      try await other.listen(on: .inherited("http", from: sockets, orListen: .localHost, port: 0))
      #expect(other.isListening)
      other.close()
    }
  }

  @Test("A group of shards takes a socket for each loop, and refuses fewer")
  func shards() async throws {
    try await onLoops(2) { loops in
      let (sockets, files) = try inherited("http")
      let server = TCPServerGroup(on: loops, distribution: .shards)
      let source = ListenerSource.inherited("http", from: sockets, port: 0)
      await #expect(throws: SocketError.operation) { try await server.listen(on: source) }
      #expect(sockets.names == ["http"] && files[0].isOpen)

      // Sockets of one address, as a unit with ReusePort= has them.
      let first = try #require(sockets.takeDescriptor(named: "http"))
      close(first)
      let shared = try Self.sharedPort(2)
      for descriptor in shared { try #require(sockets.add(descriptor, named: "http")) }
      try await server.listen(on: source)
      #expect(server.isListening && sockets.names == [])
      server.close()
    }
  }

  /// Listeners of one port.
  private static func sharedPort(_ count: Int) throws -> [CInt] {
    var port: UInt16 = 0
    return try (0..<count).map { _ in
      let descriptor = Descriptors.stream()
      let endpoint = try #require(Endpoint("127.0.0.1", port: port))
      #expect(Descriptors.setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1))
      try #require(endpoint.bind(descriptor) && listen(descriptor, 10) == 0)
      port = try #require(Endpoint(localOf: descriptor)).port
      return descriptor
    }
  }

  @Test("Variables that are wrong are an error with a text")
  func wrong() throws {
    let child = try #require(
      ChildProcess("LoopPrograms", environment: ["LISTEN_PID=none", "LISTEN_FDS=1"], "inherited")
    )
    #expect(child.readLine() == "LISTEN_PID is not the number of a process\n")
    #expect(child.readLine() == "end\n")
  }

  @Test("Variables for another process leave its descriptors alone")
  func otherProcess() throws {
    let child = try #require(
      ChildProcess("LoopPrograms", environment: ["LISTEN_PID=1", "LISTEN_FDS=1"], "inherited")
    )
    #expect(child.readLine() == "inherited []\n")
    #expect(child.readLine() == "end\n")
  }
}
