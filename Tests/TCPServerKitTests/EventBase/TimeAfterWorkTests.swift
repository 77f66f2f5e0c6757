// SPDX-License-Identifier: Apache-2.0

import CLibevent
import TCPServerKit
import Testing

/// A timeout lasts its whole time, also where the loop has worked for long since it looked at its clock.
@Suite("Timeouts after work", .timeLimit(.minutes(5)))
struct TimeAfterWorkTests {
  private static let work: Duration = .milliseconds(150)
  private static let timeout: Duration = .milliseconds(60)
  /// The loop's clock ticks every few milliseconds.
  private static let least: Duration = .milliseconds(50)

  /// What waits for 60 ms, on a socket whose peer neither sends nor reads.
  enum Wait: CaseIterable, Sendable {
    case read, readLine, write, waitUntilWritten, sleep, after, timer

    func start(_ socket: TCPSocket, on base: EventBase, _ done: @escaping () -> Void) {
      let timeout = TimeAfterWorkTests.timeout
      switch self {
      case .after:
        base.afterOnThisThread(timeout, done)
      case .timer:
        let timer = EventTimer(interval: timeout, isSingleShot: true, eventBase: base)
        timer.timeout.connect {
          done()
          timer.timeout.disconnectAll()
        }
        timer.start()
      case .read, .readLine, .write, .waitUntilWritten, .sleep:
        if self == .write || self == .waitUntilWritten { socket.hold(16 << 20) }
        let (bound, boundDone) = (LoopBound(socket), LoopBound(done))
        Task.immediate(executorPreference: base.taskExecutor) {
          let socket = bound.value
          switch self {
          case .read: _ = try? await socket.read(maxLength: 1, timeout: timeout)
          case .readLine: _ = try? await socket.readLine(timeout: timeout)
          case .write: _ = try? await socket.write([UInt8](repeating: 1, count: 1 << 20), timeout: timeout)
          case .waitUntilWritten: try? await socket.waitUntilWritten(timeout: timeout)
          default: try? await base.sleep(for: timeout)
          }
          boundDone.value()
        }
      }
    }
  }

  private static func burn() {
    let end = ContinuousClock.now + work
    while ContinuousClock.now < end {}
  }

  /// Works in a handler that libevent calls, whose cached time dates from before it, and then waits.
  ///
  /// - Returns: how long the wait took.
  private static func measure(_ wait: Wait, on base: EventBase, turn: () -> Void) throws -> Duration? {
    let (socket, peer) = try connectedPair(base)
    var elapsed: Duration?
    let timer = EventTimer(interval: .zero, isSingleShot: true, eventBase: base)
    timer.timeout.connect {
      burn()
      let begin = ContinuousClock.now
      wait.start(socket, on: base) { elapsed = ContinuousClock.now - begin }
    }
    timer.start()
    let deadline = ContinuousClock.now + Loop.limit
    while elapsed == nil && ContinuousClock.now < deadline {
      turn()
    }
    socket.abort()
    withExtendedLifetime((peer, timer)) {}
    return elapsed
  }

  // On threads of their own: a task that runs a loop within itself would lose its place to the tasks of the loop.

  @Test("in a handler of the loop", arguments: Wait.allCases)
  func inHandler(wait: Wait) throws {
    let measuring = Background {
      guard let loop = try? Loop() else { return nil as Duration? }
      return try? Self.measure(wait, on: loop.base) { loop.base.runOnce(timeout: .milliseconds(100)) }
    }
    #expect(try #require(measuring.join()) >= Self.least)
  }

  @Test("on a loop that the program runs itself", arguments: Wait.allCases)
  func onAdoptedLoop(wait: Wait) throws {
    let measuring = Background {
      guard let raw = unsafe event_base_new() else { return nil as Duration? }
      defer { unsafe event_base_free(raw) }
      guard let base = unsafe try? EventBase(adopting: raw) else { return nil }
      return try? Self.measure(wait, on: base) {
        unsafe event_base_loop(raw, CInt(CLIBEVENT_LOOP_ONCE | CLIBEVENT_LOOP_NO_EXIT_ON_EMPTY))
      }
    }
    #expect(try #require(measuring.join()) >= Self.least)
  }

  // MARK: - Slow peers

  @Test("A write whose peer takes bytes all the time does not time out, one whose peer stops does")
  func slowPeer() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      pair.socket.hold(16 << 20)
      // The kernel reports room only when a third of its buffer is free: none of these waits sees any.
      var taken = 0
      let limit: Duration = .milliseconds(200)
      let bound = LoopBound(pair)
      let waiting = start { try await bound.value.socket.waitUntilWritten(timeout: limit) }
      let begin = ContinuousClock.now
      while ContinuousClock.now - begin < limit * 4 {
        // Enough to open the peer's window each time.
        taken += pair.client.receivedCount(atMost: 100_000)
        try await base.sleep(for: .milliseconds(20))
      }
      #expect(taken > 0)
      #expect(pair.socket.bytesToWrite > 0)
      await #expect(throws: SocketError.socketTimeout) { try await waiting.value }
    }
  }
}
