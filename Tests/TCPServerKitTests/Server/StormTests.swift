// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Cancellation at any moment, very often: nothing may be lost, doubled or left open.
///
/// `TCPSERVERKIT_CANCELLATIONS` sets how often; 100000 is the full form.
@Suite("Cancellation storms", .serialized, .timeLimit(.minutes(5)))
struct StormTests {
  static let cancellations = unsafe getenv("TCPSERVERKIT_CANCELLATIONS").flatMap {
    unsafe Int(String(cString: $0))
  }

  static let count = cancellations ?? 5000
  static let limit: Duration = .seconds(240)

  @Test("Cancelled accept() calls take no connection", arguments: [false, true])
  func accepting(bySequence: Bool) async throws {
    try await onLoop(limit: Self.limit) { base in
      let server = try listening()
      let bound = LoopBound(server)
      let connects = Self.count / 10
      let storm = Storm(port: server.serverPort, connects: connects)
      var taken = 0
      for round in 0..<Self.count {
        let task = start {
          guard bySequence else { return try await bound.value.accept() != nil }
          var iterator = bound.value.incomingConnections.makeAsyncIterator()
          return try await iterator.next() != nil
        }
        // Before it waits, while it waits, and when a connection may have woken it.
        for _ in 0..<round % 3 { await Task.yield() }
        task.cancel()
        do {
          taken += try await task.value ? 1 : 0
        } catch is CancellationError {}
      }
      while taken < connects {
        guard try await server.accept() != nil else { break }
        taken += 1
      }
      storm.join()
      #expect(taken == connects)
      #expect(server.statistics.delivered == UInt64(connects))
      expectBalanced(server)
    }
  }

  @Test("Cancelled reads take no byte: the stream arrives complete and in order")
  func reading() async throws {
    try await onLoop(limit: Self.limit) { _ in
      let pair = try await Pair()
      var next = 0
      var sent = 0
      for round in 0..<Self.count {
        let task = start {
          switch round % 4 {
          case 0: try await pair.socket.read(maxLength: 3)
          case 1: try await pair.socket.read(exactly: 5)
          case 2: try await pair.socket.readLine(maxLength: 4)
          default: try await pair.socket.read { unsafe $0.withUnsafeBytes { unsafe Array($0) } }
          }
        }
        pair.client.send(String(Character(UnicodeScalar(UInt8(48 + sent % 10)))))
        sent += 1
        for _ in 0..<round % 3 { await Task.yield() }
        task.cancel()
        let bytes = (try? await task.value) ?? []
        for byte in bytes {
          #expect(byte == UInt8(48 + next % 10))
          next += 1
        }
      }
      pair.client.endWriting()
      while let bytes = try await pair.socket.read(maxLength: 4096) {
        for byte in bytes {
          #expect(byte == UInt8(48 + next % 10))
          next += 1
        }
      }
      #expect(next == sent)
    }
  }

  @Test("A server cancelled with 64 quick connects waiting closes them all")
  func cancelledWithConnects() async throws {
    try await onLoop(limit: Self.limit) { base in
      for round in 0..<min(Self.count / 100, 200) {
        let server = try listening()
        let bound = LoopBound(server)
        let serving = start { try await bound.value.serve { _ = try await $0.readLine() } }
        for _ in 0..<round % 3 { await Task.yield() }
        let clients = (0..<64).compactMap { _ in PlainClient(to: server) }
        #expect(clients.count == 64)
        for _ in 0..<round % 4 { await Task.yield() }
        serving.cancel()
        let report = try await serving.value
        #expect(report.cancelled == report.served)
        #expect(!server.isListening)
        for client in clients {
          switch client.nextInput() {
          case .end, .failed(ECONNRESET): break
          case let other: Issue.record("\(other)")
          }
        }
        #expect(server.statistics.pending == 0)
        expectBalanced(server)
      }
    }
  }

  @Test("The storms leave no descriptor open, in a process of their own")
  func census() async {
    await #expect(processExitsWith: .success) {
      let storms: [@Sendable () async throws -> Void] = [
        { try await StormTests().accepting(bySequence: false) },
        { try await StormTests().accepting(bySequence: true) },
        { try await StormTests().reading() },
        { try await StormTests().cancelledWithConnects() },
      ]
      let before = Descriptors.census()
      for storm in storms { try await storm() }
      // The last reference to a task, and with it to a loop, may go a little later on another thread. Beside the
      // loops, two descriptors each, Swift's runtime opens three for timers of its own, whenever it likes.
      let deadline = ContinuousClock.now + Loop.limit
      var after = Descriptors.census()
      while after.sockets != before.sockets || after.others > before.others + 3 {
        guard ContinuousClock.now < deadline else { break }
        await Task.yield()
        after = Descriptors.census()
      }
      #expect(after.sockets == before.sockets)
      #expect(after.others <= before.others + 3)
    }
  }

  /// Clients of another thread, which connect as fast as the server takes them.
  private final class Storm: Sendable {
    private let thread: OtherThread

    init(port: UInt16, connects: Int) {
      thread = OtherThread {
        for _ in 0..<connects {
          PlainClient(port: port)?.end()
        }
      }
    }

    func join() {
      thread.join()
    }
  }
}
