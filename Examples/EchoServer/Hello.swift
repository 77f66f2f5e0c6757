import TCPServerKit

/// Answers HTTP requests, also those sent ahead of the answers, until one of them is the last: because the client
/// says so, or because the server is about to end.
func answerRequests(_ socket: TCPSocket, until shutdown: GracefulShutdown) async throws {
  var input = RequestInput()
  while try await socket.read({ bytes in input.append(bytes) }) != nil {
    var answers: [UInt8] = []
    var isLast = false
    while !isLast, let request = input.next() {
      isLast = request.isLast || shutdown.hasBegun
      answers += answer(to: request, isLast: isLast)
    }
    if !answers.isEmpty {
      try await socket.write(answers)
    }
    if isLast { return }
  }
}

private func answer(to request: RequestInput.Request, isLast: Bool) -> [UInt8] {
  switch request {
  case .malformed: malformed
  case .tooLong: tooLong
  case .head(let head):
    // HTTP/1.1 stays connected without saying so.
    switch (isLast, head.version) {
    case (true, _): head.method == .head ? lastWithoutBody : last
    case (false, .http10): head.method == .head ? keptWithoutBody : kept
    case (false, .http11): head.method == .head ? usualWithoutBody : usual
    }
  }
}

private let usual = response("200 OK", "", body: "hello\n")
private let kept = response("200 OK", "Connection: Keep-Alive\r\n", body: "hello\n")
private let last = response("200 OK", "Connection: close\r\n", body: "hello\n")
private let usualWithoutBody = Array(usual.dropLast(6))
private let keptWithoutBody = Array(kept.dropLast(6))
private let lastWithoutBody = Array(last.dropLast(6))
private let malformed = response("400 Bad Request", "Connection: close\r\n", body: "")
private let tooLong = response("431 Request Header Fields Too Large", "Connection: close\r\n", body: "")

private func response(_ status: String, _ connection: String, body: String) -> [UInt8] {
  let fields = "Content-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\n\(connection)"
  return Array("HTTP/1.1 \(status)\r\n\(fields)\r\n\(body)".utf8)
}
