// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Synchronization

/// A tracker that gives the answers it was made with, and remembers what it was asked.
final class ScriptedTracker: Sendable {
  let url: String
  private let state = Shared()

  /// What its thread needs of it.
  private final class Shared: Sendable {
    let questions = Mutex<[[String: String]]>([])
    let isStopped = Atomic(false)
  }

  /// - Parameter answer: All bytes that it sends to anybody, before it closes.
  init(answer: [UInt8]) throws {
    guard let listener = Listener() else { throw UnexpectedOutput(line: "no port") }
    url = "http://127.0.0.1:\(listener.port)/announce"
    let state = state
    Thread.detachNewThread {
      while !state.isStopped.load(ordering: .relaxed) {
        guard let connection = listener.accept(within: .milliseconds(100)) else { continue }
        var question: [UInt8] = []
        while !question.suffix(4).elementsEqual("\r\n\r\n".utf8) {
          let byte = connection.receive(1)
          guard !byte.isEmpty else { break }
          question += byte
        }
        state.questions.withLock { $0.append(Self.parameters(question)) }
        connection.send(answer)
        connection.endSending()
        _ = connection.isEnded()
      }
    }
  }

  /// One whose answers are good HTTP.
  convenience init(body: [UInt8]) throws {
    try self.init(answer: Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body)
  }

  deinit {
    state.isStopped.store(true, ordering: .relaxed)
  }

  /// The parameters of each question, as they were written.
  var questions: [[String: String]] {
    state.questions.withLock { $0 }
  }

  private static func parameters(_ question: [UInt8]) -> [String: String] {
    let line = String(decoding: question.prefix { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
    let query = line.split(separator: " ").dropFirst().first?.split(separator: "?").last ?? ""
    return query.split(separator: "&").reduce(into: [:]) { parameters, item in
      let parts = item.split(separator: "=", maxSplits: 1)
      parameters[String(parts.first ?? "")] = parts.count == 2 ? String(parts[1]) : ""
    }
  }
}
