// SPDX-License-Identifier: Apache-2.0

#if Tracing
  public import TCPServerKit
  public import Tracing

  /// Makes a span for each connection, of kind `server`, which is the parent of those that the handler makes.
  ///
  /// ```swift
  /// let tracing = ConnectionTracing(server: "echo")
  /// try await server.serve(handler: tracing.handler { socket in
  ///   while let line = try await socket.readLine() { try await socket.write(line) }
  /// })
  /// ```
  ///
  /// The span begins when the handler starts and ends with it; what the handler throws is recorded in it. Its attributes are
  /// `network.transport`, `network.type`, `network.peer.address`, `network.peer.port`, `server.address` and
  /// `server.port`; at a path `network.transport` alone, which is `unix` there. Where a PROXY header is required,
  /// `tcp.proxied` is true, and the peer is the client that the header names.
  public struct ConnectionTracing: Sendable {
    private let name: String
    private let tracer: any Tracer

    /// Makes spans for the connections of a server.
    ///
    /// - Parameters:
    ///   - name: what the spans are named.
    ///   - tracer: makes the spans; by default the one that the program has bootstrapped.
    public init(server name: String, tracer: any Tracer = InstrumentationSystem.tracer) {
      self.name = name
      self.tracer = tracer
    }

    /// A handler that calls another within a span.
    ///
    /// - Parameter body: serves one connection.
    /// - Returns: what ``TCPServer/serve(maxConnections:shutdown:onError:handler:)`` is given in place of `body`; `body`
    ///   itself where there is no tracer, which costs a connection nothing.
    public func handler(
      _ body: @escaping @Sendable (TCPSocket) async throws -> Void
    ) -> @Sendable (TCPSocket) async throws -> Void {
      guard !(tracer is NoOpTracer) else { return body }
      // Not withAnySpan: each function that waits for another takes room of the task's, which allocates once that is
      // used up.
      return { socket in
        let span = tracer.startAnySpan(name, ofKind: .server)
        defer { span.end() }
        // Finding out this side's address is a system call.
        if span.isRecording { span.attributes = Self.attributes(of: socket) }
        do {
          try await ServiceContext.$current.withValue(span.context) { try await body(socket) }
        } catch {
          span.recordError(error)
          span.setStatus(SpanStatus(code: .error))
          throw error
        }
      }
    }

    private static func attributes(of socket: TCPSocket) -> SpanAttributes {
      var attributes = SpanAttributes()
      if socket.proxied != nil { attributes["tcp.proxied"] = true }
      guard !socket.isUnix else {
        attributes["network.transport"] = "unix"
        return attributes
      }
      attributes["network.transport"] = "tcp"
      attributes["network.type"] = socket.peerAddress.isIPv6 ? "ipv6" : "ipv4"
      attributes["network.peer.address"] = "\(socket.peerAddress)"
      attributes["network.peer.port"] = Int64(socket.peerPort)
      attributes["server.address"] = "\(socket.localAddress)"
      attributes["server.port"] = Int64(socket.localPort)
      return attributes
    }
  }
#endif
