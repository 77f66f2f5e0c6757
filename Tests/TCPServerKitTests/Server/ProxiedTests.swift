// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Servers behind proxies that send PROXY headers.
@Suite("Requiring PROXY headers", .timeLimit(.minutes(5)))
struct ProxiedTests {
  private static let line = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
  private static let client = HostAddress("192.0.2.1")

  /// With the time of a test for a header, because what sends it may be late.
  private static func requirement() throws -> ProxyHeaderRequirement {
    try ProxyHeaderRequirement(from: ["127.0.0.0/8", "::1"], timeout: Loop.limit)
  }

  private func fixture() throws -> OverridingFixture {
    let fixture = try OverridingFixture()
    fixture.server.proxyHeaderRequirement = try Self.requirement()
    return fixture
  }

  @Test("A requirement needs networks, and each is to be one")
  func networks() throws {
    let empty = #expect(throws: ProxyHeaderRequirement.NetworkError.self) {
      try ProxyHeaderRequirement(from: [])
    }
    #expect(empty?.network == nil)
    #expect(empty.map { "\($0)" } == "No network is given whose PROXY headers are taken")
    let wrong = #expect(throws: ProxyHeaderRequirement.NetworkError.self) {
      try ProxyHeaderRequirement(from: ["10.0.0.0/8", "10.0.0.0/33"])
    }
    #expect(wrong.map { "\($0)" } == "\"10.0.0.0/33\" is no network such as 10.0.0.0/8, and not \"unix:\"")
    let some = try ProxyHeaderRequirement(
      from: ["10.0.0.1"],
      version: .v1,
      timeout: .seconds(1),
      maximumLength: 100
    )
    #expect(some.networks == ["10.0.0.1"] && some.version == .v1)
    #expect(some.timeout == .seconds(1) && some.maximumLength == 100)
  }

  @Test(
    "The client is the peer, the socket has what the proxy said, and the bytes behind it are the client's"
  )
  func delivers() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.proxyHeaderRequirement == nil)
    server.proxyHeaderRequirement = try Self.requirement()
    #expect(try server.proxyHeaderRequirement == Self.requirement())
    try #require(server.listen(address: .localHost))
    let proxy = try #require(PlainClient(to: server))
    proxy.send(Self.line + "hello")
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress == Self.client && socket.peerPort == 56324)
    let proxied = try #require(socket.proxied)
    #expect(proxied.proxyAddress == .localHost && proxied.proxyPort == proxy.port)
    #expect(proxied.header.destinationAddress == HostAddress("198.51.100.2"))
    #expect(proxied.header.destinationPort == 443)
    #expect(!proxied.header.isLocal && proxied.header.version == .v1)
    #expect(loop.run { socket.waitForReadyRead(msec: 0) })
    #expect(socket.readAll() == Array("hello".utf8))
    expectBalanced(server)
  }

  @Test("TLVs of version 2 arrive; of the proxy's own connection the peer is the proxy")
  func version2() throws {
    let fixture = try fixture()
    var header = ProxyHeader(
      sourceAddress: try #require(HostAddress("2001:db8::1")),
      sourcePort: 1,
      destinationAddress: try #require(HostAddress("2001:db8::2")),
      destinationPort: 2
    )
    header.tlvs = [ProxyHeader.TLV(type: 2, value: Array("example.com".utf8))]
    header.hasChecksum = true
    for sent in [header, .local] {
      let proxy = try fixture.connect()
      proxy.send(try sent.encoded())
      #expect(fixture.loop.run { fixture.server.hasPendingConnections })
      let socket = try #require(fixture.server.nextPendingConnection())
      #expect(socket.proxied?.header == sent)
      #expect(socket.peerAddress == (sent.isLocal ? .localHost : header.sourceAddress))
      #expect(socket.peerPort == (sent.isLocal ? proxy.port : 1))
    }
    expectBalanced(fixture.server)
  }

  @Test("Each rejection has its reason, and a health check is counted alone")
  func rejections() throws {
    let fixture = try fixture()
    let server = fixture.server
    server.maxPrefaces = 1
    #expect(server.maxPrefaces == 1)
    var rejected: [RejectedConnection] = []
    server.connectionRejected.connect { rejected.append($0) }
    func expect(_ reason: RejectedConnection.Reason) {
      #expect(fixture.loop.run { !rejected.isEmpty })
      #expect(rejected.map(\.reason) == [reason])
      rejected = []
    }
    let wrong = try fixture.connect()
    wrong.send("GET / HTTP/1.1\r\n")
    #expect(fixture.loop.run { !rejected.isEmpty })
    if case .proxyHeader(let error) = rejected.removeFirst().reason {
      #expect("\(error)" == "There is no PROXY header" && error.offset == 0)
    } else {
      Issue.record("another reason")
    }
    let cut = try fixture.connect()
    cut.send("PROXY")
    #expect(fixture.loop.run { server.statistics.inPreface == 1 })
    cut.end()
    expect(.unfinishedProxyHeader)
    let silent = try fixture.connect()
    #expect(fixture.loop.run { server.statistics.inPreface == 1 })
    let other = try fixture.connect()
    expect(.maxPrefaces)
    other.end()
    #expect(fixture.loop.run { server.statistics.prefaceSilent == 1 })
    #expect(rejected.isEmpty)
    fault_stop_clock()
    defer { fault_reset_clock() }
    let late = try fixture.connect()
    #expect(fixture.loop.run { server.statistics.inPreface == 1 })
    fault_advance_clock(Int64(Loop.limit / .milliseconds(1)) + 1)
    expect(.proxyHeaderTimeout)
    server.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["192.0.2.0/24"])
    let stranger = try fixture.connect()
    stranger.send(Self.line)
    expect(.untrustedProxy)
    let now = server.statistics
    #expect(now.prefaceInvalid == 1 && now.prefaceCutShort == 1 && now.prefaceDropped == 1)
    #expect(now.prefaceTimeouts == 1 && now.prefaceUntrusted == 1 && now.endedInPreface == 6)
    #expect(now.live == 0)
    expectBalanced(server)
    withExtendedLifetime((silent, late)) {}
  }

  @Test("The admission handler is asked for the proxy, and then for the client")
  func admission() throws {
    let fixture = try fixture()
    var asked: [HostAddress] = []
    fixture.server.admissionHandler = { address, _ in
      asked.append(address)
      return asked.count == 4 ? .close : .admit
    }
    var proxies: [PlainClient] = []
    for count in 1...2 {
      let proxy = try fixture.connect()
      proxy.send(Self.line)
      proxies.append(proxy)
      #expect(fixture.loop.run { asked.count == 2 * count })
    }
    let client = try #require(Self.client)
    #expect(asked == [.localHost, client, .localHost, client])
    #expect(fixture.server.statistics.rejectedByAdmission == 1)
    #expect(fixture.server.statistics.pending == 1)
    expectBalanced(fixture.server)
  }

  @Test("An override is given the client and what the proxy said, and may pass it on or keep it")
  func overriding() throws {
    let fixture = try fixture()
    var seen: [ProxiedConnection?] = []
    var kept: TCPSocket?
    fixture.server.onIncoming = { server, descriptor in
      seen.append(server.incomingProxied)
      #expect(server.incomingPeer?.address == Self.client)
      switch seen.count {
      case 1: server.takeDefault(descriptor)
      case 2:
        let socket = TCPSocket(eventBase: fixture.loop.base)
        #expect(socket.setSocketDescriptor(descriptor))
        kept = socket
      default: close(descriptor)
      }
    }
    let proxies = try (0..<3).map { _ in try fixture.connect() }
    for proxy in proxies { proxy.send(Self.line) }
    #expect(fixture.loop.run { seen.count == 3 })
    #expect(seen.allSatisfy { $0?.header.sourcePort == 56324 })
    #expect(fixture.server.incomingProxied == nil)
    #expect(fixture.server.nextPendingConnection()?.proxied?.header.sourcePort == 56324)
    #expect(kept?.proxied?.header.sourcePort == 56324 && kept?.peerAddress == Self.client)
    expectBalanced(fixture.server)
  }

  @Test("Sequences carry it to other loops, from an override as well")
  func sequences() async throws {
    try await onLoop { base in
      for server in [TCPServer(), OverridingServer(eventBase: base)] {
        server.proxyHeaderRequirement = try Self.requirement()
        try #require(server.listen(address: .localHost))
        let proxy = try #require(PlainClient(to: server))
        proxy.send(Self.line)
        var iterator = server.incomingConnections.makeAsyncIterator()
        let connection = try #require(try await iterator.next())
        #expect(connection.peerAddress == Self.client)
        #expect(connection.proxied?.proxyPort == proxy.port)
        let socket = try connection.socket()
        #expect(socket.proxied == connection.proxied && socket.peerPort == 56324)
        expectBalanced(server)
      }
    }
  }

  @Test("Handlers of serve have it, and a shutdown serves those that are in the preface")
  func serving() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.proxyHeaderRequirement = try Self.requirement()
      let (bound, shutdown) = (LoopBound(server), GracefulShutdown())
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          try await socket.write("\(socket.peerAddress) \(socket.proxied?.header.destinationPort ?? 0)")
        }
      }
      let proxies = try (0..<2).map { _ in try #require(PlainClient(to: server)) }
      proxies[0].send(Self.line)
      try await until { server.statistics.delivered == 1 && server.statistics.inPreface == 1 }
      shutdown.begin(timeout: .seconds(60))
      try await until { !server.isListening }
      await turns()
      proxies[1].send(Self.line)
      #expect(try await serving.value.served == 2)
      for proxy in proxies { #expect(proxy.nextInput() == .bytes(Array("192.0.2.1 443".utf8))) }
      expectBalanced(server)
    }
  }

  @Test("At its deadline a shutdown closes what is in the preface; a sequence ends with the last of them")
  func ending() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.proxyHeaderRequirement = try Self.requirement()
      let (bound, shutdown) = (LoopBound(server), GracefulShutdown())
      let serving = start { try await bound.value.serve(shutdown: shutdown) { _ in } }
      let proxy = try #require(PlainClient(to: server))
      try await until { server.statistics.inPreface == 1 }
      shutdown.begin(timeout: .milliseconds(50))
      #expect(try await serving.value.served == 0)
      #expect(proxy.nextInput() == .end)
      #expect(server.statistics.discardedOnClose == 1)

      try #require(server.listen(address: .localHost))
      let other = try #require(PlainClient(to: server))
      let ended = start { try await bound.value.accept() == nil }
      try await until { server.statistics.inPreface == 1 }
      server.finish()
      await turns()
      other.end()
      #expect(try await ended.value)
      #expect(await server.waitUntilConnectionsEndedOrNot())
      expectBalanced(server)
    }
  }

  @Test("In a group the client decides, and a shutdown waits for headers", arguments: Distribution.eachWay)
  func groups(_ distribution: Distribution) async throws {
    try await onLoops { group in
      let server = TCPServerGroup(on: group, distribution: distribution) { server in
        server.proxyHeaderRequirement = try? Self.requirement()
        server.maxPrefaces = 7
      }
      try await server.listen(address: .localHost)
      let shutdown = GracefulShutdown()
      let port = server.serverPort
      let serving = Task(executorPreference: group.eventBases[0].taskExecutor) {
        try await server.serve(shutdown: shutdown) { socket in
          try await socket.write("\(socket.peerAddress)")
        }
      }
      let proxies = try (0..<4).map { _ in try #require(PlainClient(port: port)) }
      for proxy in proxies.dropLast() { proxy.send(Self.line) }
      for proxy in proxies.dropLast() {
        #expect(proxy.nextInput() == .bytes(Array("192.0.2.1".utf8)))
      }
      try await until { server.statistics.inPreface == 1 }
      shutdown.begin(timeout: .seconds(60))
      try await until { !server.isListening }
      proxies[3].send(Self.line)
      #expect(proxies[3].nextInput() == .bytes(Array("192.0.2.1".utf8)))
      #expect(try await serving.value.served == 4)
      expectBalanced(server)
    }
  }

  @Test("diagnose() says whose headers are required")
  func diagnosis() throws {
    let fixture = try fixture()
    let line = "PROXY headers: required, from 127.0.0.0/8, ::1; 0 of maxPrefaces, 1024, are being read"
    #expect(fixture.server.diagnose().lines.contains(line))
    fixture.server.proxyHeaderRequirement = nil
    #expect(!fixture.server.diagnose().lines.contains { $0.hasPrefix("PROXY") })
  }

  @Test("A socket sends a header first, and forwards that of a connection")
  func sending() throws {
    let fixture = try fixture()
    let base = fixture.loop.base
    let first = TCPSocket(eventBase: base)
    first.connectToHost(.localHost, port: fixture.server.serverPort)
    let header = ProxyHeader(
      sourceAddress: try #require(Self.client),
      sourcePort: 56324,
      destinationAddress: try #require(HostAddress("198.51.100.2")),
      destinationPort: 443
    )
    #expect(try first.sendProxyHeader(header))
    first.write("x")
    #expect(fixture.loop.run { fixture.server.hasPendingConnections })
    let received = try #require(fixture.server.nextPendingConnection())
    #expect(received.proxied?.header == header)
    // To the next server, of which this is the proxy.
    #expect(ProxyHeader(forwarding: received) == header)
    #expect(ProxyHeader(forwarding: received, version: .v1).version == .v1)
    #expect(ProxyHeader(forwarding: TCPSocket(eventBase: base)) == ProxyHeader())
    let plain = ProxyHeader(forwarding: first)
    #expect(plain.sourcePort == fixture.server.serverPort && plain.destinationAddress == .localHost)
    var wrong = header
    wrong.version = .v1
    wrong.hasChecksum = true
    #expect(throws: ProxyHeader.FormatError.self) { try first.sendProxyHeader(wrong) }
    expectBalanced(fixture.server)
  }
}

extension TCPServer {
  fileprivate func waitUntilConnectionsEndedOrNot() async -> Bool {
    (try? await waitUntilConnectionsEnded()) ?? false
  }
}
