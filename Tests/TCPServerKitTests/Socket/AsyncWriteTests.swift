// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Writing with async/await", .timeLimit(.minutes(5)))
struct AsyncWriteTests {
  @Test("What the kernel has no room for is sent when there is, without another call")
  func heldBytesGoOut() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.writeHighWaterMark = 1 << 20
      // Larger than the kernel's buffers, smaller than those and the mark.
      var total = 0
      while pair.socket.bytesToWrite == 0 {
        total += try await pair.socket.write([UInt8](repeating: 1, count: 100_000))
      }
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return received == total
      }
      #expect(pair.socket.bytesToWrite == 0)
    }
  }

  @Test("Suspends while the peer is slow, holding no more than the mark")
  func suspends() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let count = 8 << 20
      let writing = start { try await pair.socket.write([UInt8](repeating: 7, count: count)) }
      await turns()
      #expect(pair.socket.bytesToWrite == pair.socket.writeHighWaterMark)
      #expect(pair.socket.writeHighWaterMark == 65536)
      var received = 0
      var most = 0
      try await until {
        received += pair.client.receivedCount()
        most = max(most, pair.socket.bytesToWrite)
        return received == count
      }
      #expect(try await writing.value == count)
      #expect(most <= 65536)
    }
  }

  @Test("A cancelled write says how much went out, and the peer gets exactly that")
  func cancelled() async throws {
    try await onLoop { _ in
      for round in 1...20 {
        let pair = try await Pair()
        // What an earlier write left is not counted.
        let before = round % 2 == 0 ? 1000 : 0
        try await pair.socket.write([UInt8](repeating: 0, count: before))
        let writing = start { try await pair.socket.write([UInt8](repeating: 7, count: 32 << 20)) }
        await turns(3)
        var received = 0
        try await until {
          received += pair.client.receivedCount()
          return received > round * 300_000
        }
        writing.cancel()
        await #expect(throws: CancellationError.self) { try await writing.value }
        let written = pair.socket.bytesOfFailedWrite
        #expect(0 < written && written < 32 << 20)
        #expect(pair.socket.bytesToWrite == 0)
        pair.socket.finishWriting()
        try await until {
          received += pair.client.receivedCount()
          return pair.client.hasEnded
        }
        #expect(received == written + before)
      }
    }
  }

  @Test("So does one that ran out of time, and the rest can be written later")
  func timedOut() async throws {
    try await onLoop { _ in
      let pair = try await Pair(tight: true)
      let bytes = pattern(4 << 20)
      await #expect(throws: SocketError.socketTimeout) {
        try await pair.socket.write(bytes, timeout: .milliseconds(50))
      }
      let written = pair.socket.bytesOfFailedWrite
      #expect(0 < written && written < bytes.count)
      #expect(pair.socket.bytesToWrite == 0)
      // This one has no share in it. The kernel may have room again for a part of what is to be held.
      var more = 0
      while pair.socket.bytesToWrite < pair.socket.writeHighWaterMark {
        let count = pair.socket.hold(pair.socket.writeHighWaterMark - pair.socket.bytesToWrite)
        try #require(count > 0)
        more += count
      }
      await #expect(throws: SocketError.socketTimeout) {
        try await pair.socket.waitUntilWritable(timeout: .milliseconds(50))
      }
      #expect(pair.socket.bytesOfFailedWrite == written)
      let rest = start { try await pair.socket.write(bytes[written...]) }
      var received: [UInt8] = []
      try await until {
        if case .bytes(let bytes) = pair.client.input() { received += bytes }
        return received.count == bytes.count + more
      }
      _ = try await rest.value
      received.removeSubrange(written..<(written + more))
      #expect(Delivery.whole(received) == .whole(bytes))
    }
  }

  @Test("A cancelled write takes back nothing of an earlier one that is still held")
  func cancelledBehindAnother() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      var earlier = 0
      while pair.socket.bytesToWrite == 0 {
        earlier += try await pair.socket.write([UInt8](repeating: 1, count: 10_000))
      }
      let held = pair.socket.bytesToWrite
      let writing = start { try await pair.socket.write([UInt8](repeating: 2, count: 1 << 20)) }
      #expect(pair.socket.bytesToWrite == pair.socket.writeHighWaterMark)
      writing.cancel()
      await #expect(throws: CancellationError.self) { try await writing.value }
      #expect(pair.socket.bytesOfFailedWrite == 0)
      #expect(pair.socket.bytesToWrite == held)
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return received >= earlier
      }
      #expect(received == earlier && pair.socket.bytesToWrite == 0)
    }
  }

  @Test("A suspended write goes on below the low-water mark, not before")
  func lowWaterMark() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let (socket, count) = (pair.socket, 1 << 20)
      // The kernel takes a little at a time.
      socket.setSocketOption(.sendBufferSize, 4096)
      let writing = start { try await pair.socket.write([UInt8](repeating: 7, count: count)) }
      var (received, held) = (0, socket.bytesToWrite)
      var lowest = Int.max
      try await until {
        received += pair.client.receivedCount(atMost: 5000)
        let now = socket.bytesToWrite
        // Only the suspended task adds to it. This one runs between a wake-up and its effect.
        if now > held { #expect(held <= socket.writeLowWaterMark, "\(held) bytes were held") }
        held = now
        lowest = min(lowest, held)
        return received == count
      }
      #expect(try await writing.value == count)
      #expect(lowest <= socket.writeLowWaterMark)
    }
  }

  @Test("A write cancelled before it began has written nothing")
  func cancelledBefore() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let writing = start {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        return try await pair.socket.write("never")
      }
      await #expect(throws: CancellationError.self) { try await writing.value }
      pair.client.endWriting()
      await pair.socket.closeGracefully()
      #expect(pair.client.nextInput() == .end)
    }
  }

  @Test("An end that was asked for while a write waits comes when the write is cancelled")
  func endsAfterCancel() async throws {
    try await onLoop { _ in
      for closing in [false, true] {
        let pair = try await Pair()
        let writing = start { try await pair.socket.write([UInt8](repeating: 7, count: 32 << 20)) }
        await turns(3)
        if closing {
          pair.socket.disconnectFromHost()
        } else {
          pair.socket.finishWriting()
        }
        writing.cancel()
        await #expect(throws: CancellationError.self) { try await writing.value }
        let written = pair.socket.bytesOfFailedWrite
        var received = 0
        try await until {
          received += pair.client.receivedCount()
          return pair.client.hasEnded
        }
        #expect(received == written)
      }
    }
  }

  @Test("Several tasks write at once: each write goes out whole, in the order of the calls")
  func severalWriters() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let count = 3 << 20
      let writing = (0..<5).map { number in
        start { try await pair.socket.write([UInt8](repeating: UInt8(number), count: count)) }
      }
      var received: [UInt8] = []
      try await until {
        if case .bytes(let bytes) = pair.client.input() { received += bytes }
        return received.count == 5 * count
      }
      var expected: [UInt8] = []
      for (number, task) in writing.enumerated() {
        #expect(try await task.value == count)
        expected += [UInt8](repeating: UInt8(number), count: count)
      }
      #expect(Delivery.whole(received) == .whole(expected))
    }
  }

  @Test("A writer that is cancelled in the line has written nothing, and the next one has its turn")
  func cancelledInLine() async throws {
    try await onLoop { _ in
      for cancelsFirst in [false, true] {
        let pair = try await Pair()
        let first = start { try await pair.socket.write([UInt8](repeating: 1, count: 8 << 20)) }
        let second = start { try await pair.socket.write([2]) }
        let third = start { try await pair.socket.write([3]) }
        await turns(3)
        if cancelsFirst { first.cancel() }
        second.cancel()
        var received: [UInt8] = []
        try await until {
          if case .bytes(let bytes) = pair.client.input() { received += bytes }
          return received.last == 3
        }
        let hasSecond = unsafe memchr(received, 2, received.count) != nil
        #expect(!hasSecond)
        await #expect(throws: CancellationError.self) { try await second.value }
        #expect(try await third.value == 1)
        _ = await first.result
      }
    }
  }

  @Test("A reader and a writer wait at once")
  func both() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let writing = start { try await pair.socket.write([UInt8](repeating: 7, count: 8 << 20)) }
      let reading = start { try await pair.socket.readLine() }
      await turns(3)
      pair.client.send("line\n")
      #expect(text(try await reading.value) == "line\n")
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        return received == 8 << 20
      }
      #expect(try await writing.value == 8 << 20)
    }
  }

  @Test("A peer that takes nothing ends a write by its timeout, one that goes away by an error")
  func fails() async throws {
    try await onLoop { _ in
      let slow = try await Pair()
      await #expect(throws: SocketError.socketTimeout) {
        try await slow.socket.write([UInt8](repeating: 7, count: 32 << 20), timeout: .milliseconds(20))
      }
      #expect(slow.socket.state == .connected)

      let gone = try await Pair()
      let writing = start { try await gone.socket.write([UInt8](repeating: 7, count: 32 << 20)) }
      await turns(3)
      gone.client.reset()
      await #expect(throws: SocketError.remoteHostClosed) { try await writing.value }
      await #expect(throws: SocketError.self) { try await gone.socket.write("more") }

      let aborted = try await Pair()
      let waiting = start { try await aborted.socket.write([UInt8](repeating: 7, count: 32 << 20)) }
      await turns(3)
      aborted.socket.abort()
      await #expect(throws: SocketError.remoteHostClosed) { try await waiting.value }
    }
  }

  @Test(
    "One that reads a little at a time acknowledges nothing while its kernel's buffer is full, and ends it, too"
  )
  func readsTooSlowly() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let writing = start {
        try await pair.socket.write([UInt8](repeating: 7, count: 32 << 20), timeout: .milliseconds(500))
      }
      let hasEnded = Flag()
      let reading = start {
        while !hasEnded.isSet {
          _ = pair.client.input(atMost: 10)
          try await base.sleep(for: .milliseconds(10))
        }
      }
      await #expect(throws: SocketError.socketTimeout) { try await writing.value }
      hasEnded.set()
      try await reading.value
      pair.socket.abort()
    }
  }

  @Test("A peer that has taken something in time is not given up by a loop that is late")
  func lateLoop() async throws {
    try await onLoop(limit: .seconds(1000)) { _ in
      // No time but the test's own: an acknowledgement may take longer than the write may wait.
      fault_stop_clock()
      defer { fault_reset_clock() }
      let pair = try await Pair()
      let count = 8 << 20
      let ended = Flag()
      let writing = start {
        defer { ended.set() }
        return try await pair.socket.write([UInt8](repeating: 7, count: count), timeout: .milliseconds(20))
      }
      var received = 0
      try await until {
        received += pair.client.receivedCount()
        // The kernel reports room once a third of its buffer is free.
        if Descriptors.wait(pair.socket.socketDescriptor, for: POLLOUT, msec: 0) { fault_advance_clock(21) }
        return received == count || ended.isSet
      }
      #expect(try await writing.value == count)
    }
  }

  @Test("Without a connection a task's write throws an error that says so; one that does not wait has Qt's")
  func notConnected() async throws {
    let writes: [@Sendable (TCPSocket) async throws -> Void] = [
      { try await $0.write("x") }, { try await $0.write([1]) }, { try await $0.write(pieces: [[1]]) },
      { try await $0.waitUntilWritable() },
    ]
    let writeNow: @Sendable (TCPSocket) -> Int = { $0.write("x") }
    try await onLoop { _ in
      let (closing, closed) = (try await Pair(), try await Pair())
      closing.socket.close()
      #expect(closing.socket.state == .closing)
      closed.socket.disconnectFromHost()
      closed.client.end()
      try await until { closed.socket.state == .unconnected }
      for socket in [closing.socket, closed.socket, TCPSocket()] {
        for write in writes {
          await #expect(throws: SocketError.operation) { try await write(socket) }
          #expect(socket.error == .operation && socket.errorString == "Socket is not connected")
        }
        #expect(writeNow(socket) == -1)
        #expect(socket.error == .unknown && socket.errorString == "Socket is not connected")
      }
    }
  }

  @Test("After the end of the peer's side, and of this one, the other goes on")
  func halfClose() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("question")
      pair.client.endWriting()
      #expect(text(try await pair.socket.read(exactly: 8)) == "question")
      #expect(try await pair.socket.read(maxLength: 1) == nil)
      try await pair.socket.write("answer")
      #expect(pair.client.nextInput() == .bytes(Array("answer".utf8)))
      #expect(pair.socket.state == .closing)

      let other = try await Pair()
      other.socket.finishWriting()
      #expect(other.client.nextInput() == .end)
      other.client.send("still")
      #expect(text(try await other.socket.read(exactly: 5)) == "still")
      await #expect(throws: SocketError.operation) { try await other.socket.write("x") }
    }
  }
}
