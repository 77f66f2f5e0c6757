// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import TCPServerKitService

/// Answers one HTTP request of an operator, or of what operates a server:
///
/// - `/metrics` for Prometheus;
/// - `/ready` for a load balancer, `/live` for what restarts the program;
/// - `/connections`, and as JSON `/connections.json`: what the server and each of its connections is doing now;
/// - `/diagnosis`: what limits the server.
func serveOperations(_ socket: TCPSocket, _ metrics: PrometheusFactory, of service: TCPService) async throws {
  guard let request = try await requestLine(of: socket) else { return }
  switch (request, service.server) {
  case ("GET /metrics", _): try await answer("200 OK", metrics.text, .metrics, on: socket)
  case ("GET /live", _): try await answer("200 OK", "alive\n", on: socket)
  case ("GET /ready", _) where service.isReady: try await answer("200 OK", "ready\n", on: socket)
  case ("GET /ready", _): try await answer(unavailable, "not ready\n", on: socket)
  case ("GET /connections", let server?):
    try await answer("200 OK", "\(await server.snapshot())\n", on: socket)
  case ("GET /connections.json", let server?):
    try await answer("200 OK", server.snapshot().json + "\n", .json, on: socket)
  case ("GET /diagnosis", let server?):
    try await answer("200 OK", "\(try await server.diagnose())\n", on: socket)
  case ("GET /connections", nil), ("GET /connections.json", nil), ("GET /diagnosis", nil):
    try await answer(unavailable, "the server does not listen\n", on: socket)
  default: try await answer("404 Not Found", "there is: \(paths)\n", on: socket)
  }
}

private let paths = "/metrics, /ready, /live, /connections, /connections.json, /diagnosis"
private let unavailable = "503 Service Unavailable"

private enum ContentType: String {
  case text = "text/plain; charset=utf-8"
  case metrics = "text/plain; version=0.0.4; charset=utf-8"
  case json = "application/json"
}

/// Method and path, when the headers after them have been read, too; nil where there is no request.
private func requestLine(of socket: TCPSocket) async throws -> String? {
  guard let first = try await socket.readLine(maxLength: 4096, timeout: .seconds(5)) else { return nil }
  let words = String(decoding: first, as: UTF8.self).split(whereSeparator: \.isWhitespace)
  for _ in 0..<100 {
    guard let line = try await socket.readLine(maxLength: 4096, timeout: .seconds(5)) else { return nil }
    if line.allSatisfy(\.isNewline) { return words.prefix(2).joined(separator: " ") }
  }
  return nil
}

private func answer(
  _ status: String,
  _ body: String,
  _ type: ContentType = .text,
  on socket: TCPSocket
) async throws {
  let head = """
    HTTP/1.1 \(status)\r
    Content-Type: \(type.rawValue)\r
    Content-Length: \(body.utf8.count)\r
    Connection: close\r
    \r

    """
  try await socket.write(head + body)
}

extension UInt8 {
  fileprivate var isNewline: Bool { self == UInt8(ascii: "\r") || self == UInt8(ascii: "\n") }
}
