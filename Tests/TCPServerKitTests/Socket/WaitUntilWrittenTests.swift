// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Waiting until all is written", .timeLimit(.minutes(5)))
struct WaitUntilWrittenTests {
  private static let count = 8 << 20

  /// A pair whose socket holds bytes that the kernel has no room for.
  private func holding() async throws -> Pair {
    let pair = try await Pair()
    pair.socket.hold(Self.count)
    try #require(pair.socket.bytesToWrite > 0)
    return pair
  }

  @Test("Returns when the kernel has the last byte, no sooner")
  func waits() async throws {
    try await onLoop { _ in
      let pair = try await holding()
      // A write would go on as soon as the peer takes something.
      pair.socket.writeLowWaterMark = Self.count
      let waiting = start {
        try await pair.socket.waitUntilWritten()
        return pair.socket.bytesToWrite
      }
      var received = 0
      try await until {
        received += pair.client.receivedCount(atMost: 65536)
        return received == Self.count
      }
      #expect(try await waiting.value == 0)
    }
  }

  @Test(
    "Returns at once when nothing is held, cancelled or not, also where the connection has ended in order"
  )
  func nothingHeld() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      try await pair.socket.write("all of it")
      let jobs = base.statistics.jobs
      try await pair.socket.waitUntilWritten()
      #expect(base.statistics.jobs == jobs)
      let cancelled = start {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        try await pair.socket.waitUntilWritten()
      }
      try await cancelled.value
      pair.socket.disconnectFromHost()
      try await pair.socket.waitUntilWritten()
      pair.client.end()
      try await until { pair.socket.state == .unconnected }
      try await pair.socket.waitUntilWritten()
    }
  }

  @Test("Cancelled, it throws, and the bytes go on being sent", arguments: [false, true])
  func cancelled(before: Bool) async throws {
    try await onLoop { _ in
      let pair = try await holding()
      let waiting = start {
        if before { unsafe withUnsafeCurrentTask { unsafe $0?.cancel() } }
        try await pair.socket.waitUntilWritten()
      }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return received == Self.count
      }
    }
  }

  @Test("A peer that takes nothing ends it by its timeout, and the connection stays")
  func timeout() async throws {
    try await onLoop { _ in
      let pair = try await holding()
      await #expect(throws: SocketError.socketTimeout) {
        try await pair.socket.waitUntilWritten(timeout: .milliseconds(20))
      }
      #expect(pair.socket.state == .connected && pair.socket.bytesToWrite > 0)
    }
  }

  @Test("A connection that breaks with bytes held ends it with an error, then and later")
  func breaks() async throws {
    try await onLoop { _ in
      for aborted in [false, true] {
        let pair = try await holding()
        let waiting = start { try await pair.socket.waitUntilWritten() }
        if aborted {
          pair.socket.abort()
        } else {
          pair.client.reset()
        }
        await #expect(throws: SocketError.remoteHostClosed) { try await waiting.value }
        if !aborted {
          await #expect(throws: SocketError.remoteHostClosed) { try await pair.socket.waitUntilWritten() }
        }
      }
    }
  }

  @Test("An orderly end that comes meanwhile is none: everything was sent")
  func closesMeanwhile() async throws {
    try await onLoop { _ in
      let pair = try await holding()
      let waiting = start { try await pair.socket.waitUntilWritten() }
      pair.socket.disconnectFromHost()
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return pair.client.hasEnded
      }
      #expect(received == Self.count)
      try await waiting.value
      #expect(pair.socket.state == .closing)
    }
  }

  @Test("It is a writer: others come after it, and it after them")
  func secondWriter() async throws {
    try await onLoop { _ in
      let pair = try await holding()
      let waiting = start { try await pair.socket.waitUntilWritten() }
      let writing = start { try await pair.socket.write([UInt8](repeating: 7, count: 8 << 20)) }
      let last = start { try await pair.socket.waitUntilWritten() }
      await turns(3)
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return received == Self.count + (8 << 20)
      }
      #expect(try await writing.value == 8 << 20)
      try await last.value
      #expect(pair.socket.bytesToWrite == 0)
    }
  }

  @Test("flush() that sends the rest wakes it, and a write", arguments: [false, true])
  func flushed(writes: Bool) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      while pair.socket.bytesToWrite == 0 { pair.socket.hold(65536) }
      if writes { pair.socket.writeHighWaterMark = 1 }
      let waiting = start {
        if writes {
          try await pair.socket.write([])
        } else {
          try await pair.socket.waitUntilWritten()
        }
      }
      // No turn of the loop in between, so that it does not see the room first.
      let deadline = ContinuousClock.now + Loop.limit
      while pair.socket.bytesToWrite > 0 && ContinuousClock.now < deadline {
        _ = pair.client.receivedCount()
        pair.socket.flush()
      }
      #expect(pair.socket.bytesToWrite == 0)
      try await waiting.value
    }
  }
}
