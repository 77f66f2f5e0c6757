// SPDX-License-Identifier: Apache-2.0

import Glibc
import InMemoryTracing
import ProgramTesting
import Synchronization
import TCPServerKit
import TCPServerKitService
import TCPServerKitTracing
import Testing
import Tracing

@Suite("ConnectionTracing", .blocking, .timeLimit(.minutes(5)))
struct ConnectionTracingTests {
  private struct Failure: Error {}

  @Test("Each connection has a span with its addresses, in which its handler runs")
  func spans() async throws {
    let tracer = InMemoryTracer()
    let tracing = ConnectionTracing(server: "test", tracer: tracer)
    let handler = tracing.handler { socket in
      tracer.withAnySpan("inner") { _ in }
      try await socket.write("x")
      throw Failure()
    }
    let (serverPort, clientPort) = try await whileRunning(.local, handler: handler) { _, port in
      let client = try #require(Connection(port: port))
      #expect(client.receive(1) == [0x78])
      return (port, client.localPort)
    }
    let spans = tracer.finishedSpans
    let outer = try #require(spans.first { $0.operationName == "test" })
    let inner = try #require(spans.first { $0.operationName == "inner" })
    #expect(spans.count == 2)
    #expect(inner.parentSpanID == outer.spanID)
    #expect(outer.kind == .server)
    #expect(outer.errors.count == 1)
    #expect(outer.status?.code == .error)
    #expect(outer.attributes.get("network.transport") == .string("tcp"))
    #expect(outer.attributes.get("network.type") == .string("ipv4"))
    #expect(outer.attributes.get("network.peer.address") == .string("127.0.0.1"))
    #expect(outer.attributes.get("network.peer.port") == .int64(Int64(clientPort)))
    #expect(outer.attributes.get("server.address") == .string("127.0.0.1"))
    #expect(outer.attributes.get("server.port") == .int64(Int64(serverPort)))
  }

  @Test("A proxied connection says so, and its peer is the client that the proxy names")
  func proxied() async throws {
    let tracer = InMemoryTracer()
    let handler = ConnectionTracing(server: "test", tracer: tracer).handler(echo)
    let requirement = try ProxyHeaderRequirement(from: ["127.0.0.0/8"], timeout: .seconds(3600))
    var configuration = TCPServiceConfiguration.local
    configuration.configure = { $0.proxyHeaderRequirement = requirement }
    try await whileRunning(configuration, handler: handler) { _, port in
      let client = try #require(Connection(port: port))
      client.send(Array("PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\nx\n".utf8))
      #expect(client.receive(2) == Array("x\n".utf8))
    }
    let attributes = try #require(tracer.finishedSpans.first).attributes
    #expect(attributes.get("tcp.proxied") == .bool(true))
    #expect(attributes.get("network.peer.address") == .string("192.0.2.1"))
    #expect(attributes.get("network.peer.port") == .int64(4711))
  }

  @Test("A connection at a path has no addresses")
  func path() async throws {
    let tracer = InMemoryTracer()
    let handler = ConnectionTracing(server: "test", tracer: tracer).handler(echo)
    let listening = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let length = socklen_t(MemoryLayout<sa_family_t>.size)
    // Without a name the kernel chooses an abstract one.
    #expect(bound(listening, to: address, length) == 0)
    #expect(listen(listening, 1) == 0)
    var configuration = TCPServiceConfiguration.local
    configuration.inheritedSockets = [listening]
    try await whileRunning(configuration, handler: handler) { _, _ in
      let client = Connection(descriptor: connected(to: listening))
      #expect(client.send(Array("x\n".utf8)))
      #expect(client.receive(2) == Array("x\n".utf8))
    }
    let attributes = try #require(tracer.finishedSpans.first).attributes
    #expect(attributes.get("network.transport") == .string("unix"))
    #expect(attributes.count == 1)
  }

  @Test("Without a tracer a handler runs as if it had been given without tracing")
  func noTracer() async throws {
    let hasContext = Mutex<Bool?>(nil)
    let handler = ConnectionTracing(server: "test", tracer: NoOpTracer()).handler { socket in
      hasContext.withLock { $0 = ServiceContext.current != nil }
      try await echo(socket)
    }
    try await whileRunning(.local, handler: handler) { _, port in _ = try exchange(port: port) }
    #expect(hasContext.withLock { $0 } == false)
  }
}

private func bound(_ descriptor: Int32, to address: sockaddr_un, _ length: socklen_t) -> Int32 {
  withUnsafePointer(to: address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
  }
}

private func connected(to listening: Int32) -> Int32 {
  var address = sockaddr_un()
  var length = socklen_t(MemoryLayout<sockaddr_un>.size)
  let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  let result = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      getsockname(listening, $0, &length) == 0 ? connect(descriptor, $0, length) : -1
    }
  }
  #expect(result == 0)
  return descriptor
}
