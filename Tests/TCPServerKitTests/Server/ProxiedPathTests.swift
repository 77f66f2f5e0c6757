// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// PROXY headers of proxies that connect to a path.
@Suite("PROXY headers at a path", .timeLimit(.minutes(5)))
struct ProxiedPathTests {
  private static let line = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"

  private static func server(at folder: SocketFolder, on base: EventBase? = .current) throws -> TCPServer {
    let server = try listening(at: folder, on: base)
    server.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["unix:"])
    return server
  }

  @Test("The client is the peer, the proxy has no address, and its process is still known")
  func delivers() throws {
    let loop = try Loop()
    let folder = try SocketFolder()
    let server = try Self.server(at: folder, on: loop.base)
    let proxy = try #require(PlainClient(path: folder.path))
    proxy.send(Self.line + "hello")
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == HostAddress("192.0.2.1") && socket.peerPort == 56324)
    let proxied = try #require(socket.proxied)
    #expect(proxied.proxyAddress.isNull && proxied.proxyPort == 0)
    #expect(proxied.header.destinationPort == 443)
    #expect(socket.peerCredentials?.processID == getpid())
    #expect(loop.run { socket.waitForReadyRead(msec: 0) })
    #expect(socket.readAll() == Array("hello".utf8))
    expectBalanced(server)
  }

  @Test("A named client that has not read its answer is not waited for, as at any path")
  func unreadAnswer() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try Self.server(at: folder)
      let bound = LoopBound(server)
      // So much that of a TCP connection the kernel would be asked whether it is acknowledged.
      let answer = [UInt8](repeating: 1, count: 65536)
      let serving = start { try await bound.value.serve { try await $0.write(answer) } }
      let proxy = try #require(PlainClient(path: folder.path))
      proxy.send(Self.line)
      try await until { server.statistics.delivered == 1 }
      proxy.endWriting()
      try await until { server.statistics.live == 0 }
      #expect(proxy.receive(exactly: answer.count) == answer)
      #expect(proxy.nextInput() == .end)
      server.close()
      #expect(try await serving.value.numbers == [1, 0, 0, 0])
      #expect(server.statistics.undelivered == 0)
    }
  }

  @Test("The proxy's own connection is forwarded without addresses, and a client's with them")
  func forwarding() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try Self.server(at: folder)
      let local = try #require(PlainClient(path: folder.path))
      local.send(try ProxyHeader.local.encoded())
      let own = try #require(try await server.accept())
      #expect(own.peerAddress.isNull)
      #expect(ProxyHeader(forwarding: own, version: .v1) == Self.header(.v1))
      let proxy = try #require(PlainClient(path: folder.path))
      proxy.send(Self.line)
      let client = try #require(try await server.accept())
      var expected = Self.header(.v2)
      expected.sourceAddress = try #require(HostAddress("192.0.2.1"))
      expected.sourcePort = 56324
      expected.destinationAddress = try #require(HostAddress("198.51.100.2"))
      expected.destinationPort = 443
      #expect(ProxyHeader(forwarding: client) == expected)
      expectBalanced(server)
    }
  }

  private static func header(_ version: ProxyHeader.Version) -> ProxyHeader {
    var header = ProxyHeader()
    header.version = version
    return header
  }

  @Test("Networks have no path in them, and unix: has no address")
  func untrusted() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let (atPath, atPort) = (try Self.server(at: folder), try listening())
      atPath.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["0.0.0.0/0", "::/0"])
      atPort.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["unix:"])
      let clients = [
        try #require(PlainClient(path: folder.path)), try #require(PlainClient(to: atPort)),
      ]
      for (client, server) in zip(clients, [atPath, atPort]) {
        client.send(Self.line)
        try await until { server.statistics.prefaceUntrusted == 1 }
        expectBalanced(server)
      }
    }
  }

  @Test("Limits for one source go by the client that is named")
  func sources() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try Self.server(at: folder)
      server.sourceLimits = SourceLimits(maxConnections: 1)
      let clients = try (0..<3).map { _ in try #require(PlainClient(path: folder.path)) }
      for (client, last) in zip(clients, [1, 1, 2]) {
        client.send("PROXY TCP4 192.0.2.\(last) 198.51.100.2 1 2\r\n")
      }
      try await until {
        server.statistics.rejectedBySourceLimit == 1 && server.statistics.pending == 2
      }
      expectBalanced(server)
    }
  }
}
