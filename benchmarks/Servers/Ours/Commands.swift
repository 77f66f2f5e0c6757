// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The part of Redis's protocol that `redis-benchmark -t get,set` speaks.
///
/// Used on one loop's thread alone.
final class CommandStore: @unchecked Sendable {
  private var values: [[UInt8]: [UInt8]] = [:]

  fileprivate func answer(_ words: [ArraySlice<UInt8>], into answers: inout [UInt8]) {
    switch words.first.map(kind) {
    case .get where words.count == 2:
      guard let value = values[Array(words[1])] else { return answers += none }
      answers.append(UInt8(ascii: "$"))
      answers += String(value.count).utf8
      answers += end
      answers += value
      answers += end
    case .set where words.count == 3:
      values[Array(words[1])] = Array(words[2])
      answers += done
    default: answers += refused
    }
  }
}

private let done = Array("+OK\r\n".utf8)
private let none = Array("$-1\r\n".utf8)
private let refused = Array("-ERR unknown command\r\n".utf8)
private let end = Array("\r\n".utf8)

private enum Kind {
  case get, set, other
}

private func kind(_ word: ArraySlice<UInt8>) -> Kind {
  guard word.count == 3 else { return .other }
  let name = word.reduce(UInt32(0)) { $0 << 8 | UInt32($1 | 0x20) }
  return name == 0x676574 ? .get : name == 0x736574 ? .set : .other
}

/// One connection: a command may come in pieces.
struct CommandSession {
  private var input: [UInt8] = []
  private var words: [ArraySlice<UInt8>] = []
  private var answers: [UInt8] = []

  /// The answers to the commands that are complete.
  mutating func answer(_ bytes: RawSpan, from store: CommandStore) -> [UInt8] {
    bytes.withUnsafeBytes { input.append(contentsOf: $0) }
    answers.removeAll(keepingCapacity: true)
    var start = 0
    while let next = parse(from: start) {
      store.answer(words, into: &answers)
      start = next
    }
    words.removeAll(keepingCapacity: true)
    if start == input.count {
      input.removeAll(keepingCapacity: true)
    } else {
      input.removeFirst(start)
    }
    return answers
  }

  /// Reads `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n` into `words`; returns where the next command begins.
  private mutating func parse(from start: Int) -> Int? {
    words.removeAll(keepingCapacity: true)
    var position = start
    guard let count = number(after: UInt8(ascii: "*"), &position) else { return nil }
    for _ in 0..<count {
      guard let length = number(after: UInt8(ascii: "$"), &position), position + length + 2 <= input.count
      else { return nil }
      words.append(input[position..<position + length])
      position += length + 2
    }
    return position
  }

  private func number(after mark: UInt8, _ position: inout Int) -> Int? {
    guard position < input.count, input[position] == mark else { return nil }
    var value = 0
    var index = position + 1
    while index + 1 < input.count {
      let byte = input[index]
      if byte == UInt8(ascii: "\r") {
        position = index + 2
        return value
      }
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), value < 1 << 20 else { return nil }
      value = value * 10 + Int(byte - UInt8(ascii: "0"))
      index += 1
    }
    return nil
  }
}

/// In the handlers of signals.
func handleCommands(_ server: TCPServer) {
  let store = CommandStore()
  server.newConnection.connect {
    guard let socket = server.nextPendingConnection() else { return }
    var session = CommandSession()
    socket.readyRead.connect {
      socket.readAll { _ = socket.write(session.answer($0, from: store)) }
    }
  }
}

/// In a task for each connection.
func serveCommands(_ server: TCPServer) async throws {
  let store = CommandStore()
  try await server.serve { socket in
    var session = CommandSession()
    while let answers = try await socket.read({ session.answer($0, from: store) }) {
      try await socket.write(answers)
    }
  }
}
