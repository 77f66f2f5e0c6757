// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import TCPServerKit
import Testing

@Suite("Several who write to one socket", .timeLimit(.minutes(5)))
struct WritersInLineTests {
  /// More than the kernel and the socket take.
  private static let much = 8 << 20

  private static func message(_ letter: UInt8, _ count: Int = much) -> [UInt8] {
    [UInt8](repeating: letter, count: count)
  }

  /// What the client gets until `isAll`.
  private func received(by client: PlainClient, until isAll: ([UInt8]) -> Bool) async throws -> [UInt8] {
    var received: [UInt8] = []
    try await until {
      if case .bytes(let bytes) = client.input() { received += bytes }
      return isAll(received)
    }
    return received
  }

  @Test("Tasks elsewhere that wait until all is written let no write in between two others")
  func waitingElsewhere() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let (socket, count, messages) = (pair.socket, 1_300_000, 5)
      let hasEnded = Flag()
      let waiting = (0..<2).map { _ in
        Task.detached {
          while !hasEnded.isSet { try await socket.waitUntilWritten() }
        }
      }
      let writing = (UInt8(0)..<4).map { letter in
        start {
          for _ in 0..<messages { try await socket.write(Self.message(letter, count)) }
        }
      }
      var borders: Set<Int> = []
      var total = 0
      var last: UInt8?
      try await until {
        if case .bytes(let bytes) = pair.client.input() {
          for byte in bytes {
            if byte != last { borders.insert(total % count) }
            (last, total) = (byte, total + 1)
          }
        }
        return total == 4 * messages * count
      }
      hasEnded.set()
      for task in writing { try await task.value }
      for task in waiting { try await task.value }
      #expect(borders == [0], "a message was torn")
    }
  }

  @Test("A cancelled write ends, also when the connection's own task waits in line behind it")
  func cancelledBeforeServed() async throws {
    try await onLoop { _ in
      let (isInLine, isCancelled) = (Gate(), Gate())
      let handler: @Sendable (TCPSocket) async throws -> Void = { socket in
        let writing = start { try await socket.write(Self.message(1, 64 << 20)) }
        let cancelling = start {
          await isInLine.pass()
          writing.cancel()
          await #expect(throws: CancellationError.self) { try await writing.value }
          isCancelled.open()
        }
        try await socket.write([2])
        try await cancelling.value
      }
      try await whileServing(handler: handler) { server in
        let client = try #require(PlainClient(to: server))
        // The first write waits a second time, after the second one has come.
        var received = 0
        try await until {
          received += client.receivedCount()
          return received > 16 << 20
        }
        isInLine.open()
        await isCancelled.pass()
        var last: UInt8 = 0
        try await until {
          if case .bytes(let bytes) = client.input() { last = bytes.last ?? last }
          return last == 2
        }
      }
    }
  }

  enum Call: CaseIterable {
    case write
    case waitUntilWritable
    case waitUntilWritten
  }

  @Test("A timeout counts in line, too, behind a write that has none", arguments: Call.allCases)
  func timeoutInLine(_ call: Call) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let first = start { try await pair.socket.write(Self.message(1)) }
      await #expect(throws: SocketError.socketTimeout) {
        switch call {
        case .write: _ = try await pair.socket.write([2], timeout: .milliseconds(20))
        case .waitUntilWritable: try await pair.socket.waitUntilWritable(timeout: .milliseconds(20))
        case .waitUntilWritten: try await pair.socket.waitUntilWritten(timeout: .milliseconds(20))
        }
      }
      #expect(pair.socket.error == .socketTimeout)
      let third = start { try await pair.socket.write([3], timeout: .seconds(1000)) }
      let all = try await received(by: pair.client) { $0.last == 3 }
      #expect(Delivery.whole(all) == .whole(Self.message(1) + [3]))
      #expect(try await first.value == Self.much)
      #expect(try await third.value == 1)
    }
  }

  @Test("A peer that takes bytes of the write before is not silent for those in line")
  func progressInLine() async throws {
    try await onLoop(limit: .seconds(1000)) { _ in
      // No time but the test's own.
      fault_stop_clock()
      defer { fault_reset_clock() }
      let pair = try await Pair()
      let (count, step) = (64 << 20, 4 << 20)
      let first = start { try await pair.socket.write(Self.message(1, count)) }
      let second = start { try await pair.socket.write([2], timeout: .seconds(4)) }
      var got = 0
      // Each step is more than the peer's kernel may leave unacknowledged.
      for end in stride(from: step, through: count, by: step) {
        try await until {
          got += pair.client.receivedCount()
          return got >= end
        }
        fault_advance_clock(1000)
        await turns()
      }
      #expect(try await first.value == count)
      #expect(try await second.value == 1)
    }
  }

  // MARK: - Writes that do not wait

  private func writeTwo(to socket: TCPSocket, inPieces: Bool = false) -> Int {
    inPieces ? socket.write(pieces: [[2], [2]]) : socket.write([2, 2])
  }

  @Test(
    "What is written without waiting comes after the task's write that waits, whole",
    arguments: [false, true]
  )
  func writtenMeanwhile(inPieces: Bool) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      let first = start { try await socket.write(Self.message(1)) }
      let held = socket.bytesToWrite
      #expect(writeTwo(to: socket, inPieces: inPieces) == 2)
      #expect(socket.bytesToWrite == held + 2)
      let third = start { try await socket.write([3]) }
      let all = try await received(by: pair.client) { $0.last == 3 }
      #expect(Delivery.whole(all) == .whole(Self.message(1) + [2, 2, 3]))
      #expect(try await first.value == Self.much)
      #expect(try await third.value == 1)
      #expect(socket.bytesToWrite == 0)
    }
  }

  enum End: CaseIterable {
    case timeout
    case cancellation
    case finishWriting
    case disconnectFromHost
  }

  @Test("Nor is it lost where that write fails: the peer gets exactly what both say", arguments: End.allCases)
  func writtenBeforeFailure(_ end: End) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      let first = start {
        try await socket.write(Self.message(1), timeout: end == .timeout ? .milliseconds(20) : nil)
      }
      #expect(writeTwo(to: socket) == 2)
      switch end {
      case .timeout: break
      case .cancellation: first.cancel()
      case .finishWriting: socket.finishWriting()
      case .disconnectFromHost: socket.disconnectFromHost()
      }
      var all: [UInt8] = []
      let reads = end == .finishWriting || end == .disconnectFromHost
      if reads {
        all = try await received(by: pair.client) { $0.last == 2 }
        try await until {
          _ = pair.client.receivedCount()
          return pair.client.hasEnded
        }
      }
      switch end {
      case .timeout: await #expect(throws: SocketError.socketTimeout) { try await first.value }
      case .cancellation: await #expect(throws: CancellationError.self) { try await first.value }
      case .finishWriting: await #expect(throws: SocketError.operation) { try await first.value }
      // It goes on until it is done.
      case .disconnectFromHost: #expect(try await first.value == Self.much)
      }
      if !reads { all = try await received(by: pair.client) { $0.last == 2 } }
      let sent = end == .disconnectFromHost ? Self.much : socket.bytesOfFailedWrite
      #expect(Delivery.whole(all) == .whole(Self.message(1, sent) + [2, 2]))
    }
  }

  // MARK: - bytesOfFailedWrite

  @Test("A write that fails before its first byte says 0, whatever one before it has said")
  func nothingWritten() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      func failInTheMiddle() async throws {
        await #expect(throws: SocketError.socketTimeout) {
          try await socket.write(Self.message(1), timeout: .milliseconds(20))
        }
        try await until {
          _ = pair.client.receivedCount()
          return socket.bytesToWrite == 0
        }
      }
      try await failInTheMiddle()
      #expect(socket.bytesOfFailedWrite > 0)
      let cancelled = start {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        return try await socket.write([2])
      }
      await #expect(throws: CancellationError.self) { try await cancelled.value }
      #expect(socket.bytesOfFailedWrite == 0)

      let first = start { try await socket.write(Self.message(1)) }
      let inLine = start { try await socket.write([2]) }
      first.cancel()
      _ = await first.result
      // The last one that has failed is the one in line.
      inLine.cancel()
      _ = await inLine.result
      try await failInTheMiddle()
      socket.finishWriting()
      await #expect(throws: SocketError.operation) { try await socket.write([3]) }
      #expect(socket.bytesOfFailedWrite == 0)
    }
  }

  @Test(
    "Where the connection breaks in the middle of a write, it says what the kernel took",
    arguments: [false, true]
  )
  func brokenInTheMiddle(byPeer: Bool) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      var sent = 0
      socket.bytesWritten.connect { sent += $0 }
      let writing = start { try await socket.write(Self.message(1)) }
      socket.flush()
      try await until { sent > 0 }
      let held = socket.bytesToWrite
      #expect(held == socket.writeHighWaterMark)
      if byPeer {
        pair.client.reset()
      } else {
        socket.abort()
      }
      await #expect(throws: SocketError.remoteHostClosed) { try await writing.value }
      #expect(socket.bytesOfFailedWrite == sent)
    }
  }
}
