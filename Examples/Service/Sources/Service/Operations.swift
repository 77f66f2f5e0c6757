// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Answers one HTTP request: `/metrics` for Prometheus, `/ready` for a load balancer, `/live` for what restarts the
/// program.
func serveOperations(
  _ socket: TCPSocket,
  _ metrics: PrometheusFactory,
  isReady: () -> Bool
) async throws {
  guard let request = try await requestLine(of: socket) else { return }
  switch request {
  case "GET /metrics": try await answer("200 OK", metrics.text, on: socket)
  case "GET /ready" where isReady(): try await answer("200 OK", "ready\n", on: socket)
  case "GET /ready": try await answer("503 Service Unavailable", "not ready\n", on: socket)
  case "GET /live": try await answer("200 OK", "alive\n", on: socket)
  default: try await answer("404 Not Found", "not found\n", on: socket)
  }
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

private func answer(_ status: String, _ body: String, on socket: TCPSocket) async throws {
  let head = """
    HTTP/1.1 \(status)\r
    Content-Type: text/plain; version=0.0.4; charset=utf-8\r
    Content-Length: \(body.utf8.count)\r
    Connection: close\r
    \r

    """
  try await socket.write(head + body)
}

extension UInt8 {
  fileprivate var isNewline: Bool { self == UInt8(ascii: "\r") || self == UInt8(ascii: "\n") }
}
