// SPDX-License-Identifier: Apache-2.0

import InMemoryTracing
import ProgramTesting
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
    #expect(outer.attributes.get("network.transport") == .string("tcp"))
    #expect(outer.attributes.get("network.type") == .string("ipv4"))
    #expect(outer.attributes.get("network.peer.address") == .string("127.0.0.1"))
    #expect(outer.attributes.get("network.peer.port") == .int64(Int64(clientPort)))
    #expect(outer.attributes.get("server.address") == .string("127.0.0.1"))
    #expect(outer.attributes.get("server.port") == .int64(Int64(serverPort)))
  }
}
