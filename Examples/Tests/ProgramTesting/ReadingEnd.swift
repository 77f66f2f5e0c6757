// SPDX-License-Identifier: Apache-2.0

import Glibc

struct SystemFailure: Error {
  var call: String
  var errnum: Int32
}

/// A pipe whose ends no child inherits, unless it is started on another thread meanwhile.
func makePipe() throws -> (reading: ReadingEnd, writing: Int32) {
  var ends: [Int32] = [-1, -1]
  guard pipe(&ends) == 0 else { throw SystemFailure(call: "pipe", errnum: errno) }
  for end in ends {
    _ = fcntl(end, F_SETFD, FD_CLOEXEC)
  }
  return (ReadingEnd(descriptor: ends[0]), ends[1])
}

/// What a program prints, as text.
final class ReadingEnd {
  private let descriptor: Int32
  private var unread: [UInt8] = []

  init(descriptor: Int32) {
    self.descriptor = descriptor
  }

  deinit {
    close(descriptor)
  }

  /// The next line without its newline; nil at the end.
  func line(until deadline: ContinuousClock.Instant) throws -> String? {
    while true {
      if let end = unread.firstIndex(of: UInt8(ascii: "\n")) {
        defer { unread.removeFirst(end + 1) }
        return String(decoding: unread[..<end], as: UTF8.self)
      }
      guard try readMore(until: deadline) else {
        return unread.isEmpty ? nil : takeAll()
      }
    }
  }

  /// Everything up to the end.
  func rest(until deadline: ContinuousClock.Instant) throws -> String {
    while try readMore(until: deadline) {}
    return takeAll()
  }

  private func takeAll() -> String {
    defer { unread.removeAll() }
    return String(decoding: unread, as: UTF8.self)
  }

  private func readMore(until deadline: ContinuousClock.Instant) throws -> Bool {
    let wait = max(Int32((deadline - .now) / .milliseconds(1)), 0)
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, wait) > 0 else { throw SystemFailure(call: "poll", errnum: ETIMEDOUT) }
    var chunk = [UInt8](repeating: 0, count: 4096)
    let count = read(descriptor, &chunk, chunk.count)
    guard count >= 0 else { throw SystemFailure(call: "read", errnum: errno) }
    unread += chunk.prefix(count)
    return count > 0
  }
}
