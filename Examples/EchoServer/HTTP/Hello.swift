// SPDX-License-Identifier: Apache-2.0

import ServerProgram
import TCPServerKit

/// Answers HTTP requests, also those sent ahead of the answers, until one of them is the last: because the client
/// says so, because it is refused, because the server is about to end: while it still accepts, load balancers are to
/// make no more use of the connections that they keep, or because the connection is past its maximum age.
///
/// A request has to be complete within the idle deadline from its first byte on; single bytes do not extend it.
func answerRequests(
  _ socket: TCPSocket,
  deadlines: Deadlines,
  until shutdown: GracefulShutdown
) async throws {
  var input = RequestParser()
  var deadline = ContinuousClock.now + deadlines.firstByte
  while true {
    if !input.isWithinRequest {
      guard try await socket.waitForMessage(timeout: max(deadline - .now, .zero)) else { return }
      deadline = .now + deadlines.idle
    }
    if let refusal = try await receive(from: socket, until: deadline, into: &input) {
      try await socket.write(refused(refusal), timeout: deadlines.idle)
      return
    }
    let (answers, isComplete, isLast) = answers(
      to: &input,
      isEnding: shutdown.isAnnounced || socket.isPastMaximumAge
    )
    if isComplete {
      deadline = .now + deadlines.idle
    }
    if !answers.isEmpty {
      try await socket.write(answers, timeout: deadlines.idle)
    }
    if isLast { return }
  }
}

/// Returns why an incomplete request is refused, when no more comes: the input has ended, or not gone on in time.
private func receive(
  from socket: TCPSocket,
  until deadline: ContinuousClock.Instant,
  into input: inout RequestParser
) async throws -> Refusal? {
  do {
    let isOpen = try await socket.read(timeout: max(deadline - .now, .zero)) { input.append($0) } != nil
    return isOpen ? nil : .badRequest
  } catch SocketError.socketTimeout {
    return .requestTimeout
  }
}

/// The answers to all requests that have arrived, up to the last one.
private func answers(
  to input: inout RequestParser,
  isEnding: Bool
) -> (answers: [UInt8], isComplete: Bool, isLast: Bool) {
  var answers: [UInt8] = []
  var isComplete = false
  while let event = input.next() {
    switch event {
    case .awaitsContinue: answers += goOn
    case .refused(let refusal): return (answers + refused(refusal), true, true)
    case .request(let head):
      isComplete = true
      let isLast = head.isLast || isEnding
      answers += answer(to: head, isLast: isLast)
      if isLast { return (answers, true, true) }
    }
  }
  return (answers, isComplete, false)
}

private func answer(to head: RequestHead, isLast: Bool) -> [UInt8] {
  // HTTP/1.1 stays connected without saying so.
  switch (isLast, head.version) {
  case (true, _): head.method == .head ? lastWithoutBody : last
  case (false, .http10): head.method == .head ? keptWithoutBody : kept
  case (false, .http11): head.method == .head ? usualWithoutBody : usual
  }
}

private let usual = response("200 OK", "", body: "hello\n")
private let kept = response("200 OK", "Connection: Keep-Alive\r\n", body: "hello\n")
private let last = response("200 OK", "Connection: close\r\n", body: "hello\n")
private let usualWithoutBody = Array(usual.dropLast(6))
private let keptWithoutBody = Array(kept.dropLast(6))
private let lastWithoutBody = Array(last.dropLast(6))
private let goOn = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)

private func refused(_ refusal: Refusal) -> [UInt8] {
  response("\(refusal.rawValue) \(refusal.reason)", "Connection: close\r\n", body: "")
}

private func response(_ status: String, _ connection: String, body: String) -> [UInt8] {
  let fields = "Content-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\n\(connection)"
  return Array("HTTP/1.1 \(status)\r\n\(fields)\r\n\(body)".utf8)
}
