import CLibevent
import TCPServerKit
import Testing

/// A timeout lasts its whole time, also where the loop has worked for long since it looked at its clock.
@Suite("Timeouts after work", .timeLimit(.minutes(1)))
struct TimeAfterWorkTests {
  private static let work: Duration = .milliseconds(150)
  private static let timeout: Duration = .milliseconds(60)
  /// The loop's clock ticks every few milliseconds.
  private static let least: Duration = .milliseconds(50)

  /// What waits for 60 ms, on a socket whose peer neither sends nor reads.
  enum Wait: CaseIterable, Sendable {
    case read, readLine, write, waitUntilWritten, sleep, after, timer

    func start(_ socket: TCPSocket, _ done: @escaping () -> Void) {
      let timeout = TimeAfterWorkTests.timeout
      switch self {
      case .after:
        EventBase.current?.after(timeout, done)
      case .timer:
        let timer = EventTimer(interval: timeout, isSingleShot: true)
        timer.timeout.connect {
          done()
          withExtendedLifetime(timer) {}
        }
        timer.start()
      case .read, .readLine, .write, .waitUntilWritten, .sleep:
        if self == .write || self == .waitUntilWritten { socket.hold(16 << 20) }
        let bound = LoopBound((socket, done))
        Task.immediate(executorPreference: EventBase.current?.taskExecutor) {
          let (socket, done) = bound.value
          switch self {
          case .read: _ = try? await socket.read(maxLength: 1, timeout: timeout)
          case .readLine: _ = try? await socket.readLine(timeout: timeout)
          case .write: _ = try? await socket.write([UInt8](repeating: 1, count: 1 << 20), timeout: timeout)
          case .waitUntilWritten: try? await socket.waitUntilWritten(timeout: timeout)
          default: try? await EventBase.current?.sleep(for: timeout)
          }
          done()
        }
      }
    }
  }

  private static func burn() {
    let end = ContinuousClock.now + work
    while ContinuousClock.now < end {}
  }

  @Test("in a handler of the loop", arguments: Wait.allCases)
  func inHandler(wait: Wait) throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var elapsed: Duration?
    // A handler that libevent calls: its cached time dates from before it.
    socket.bytesWritten.connect { _ in }
    let timer = EventTimer(interval: .zero, isSingleShot: true, eventBase: loop.base)
    timer.timeout.connect {
      Self.burn()
      let begin = ContinuousClock.now
      wait.start(socket) { elapsed = ContinuousClock.now - begin }
    }
    timer.start()
    #expect(loop.run { elapsed != nil })
    #expect(elapsed ?? .zero >= Self.least)
    withExtendedLifetime(peer) {}
  }

  @Test("on a loop that the program runs itself", arguments: Wait.allCases)
  func onAdoptedLoop(wait: Wait) throws {
    let raw = try unsafe #require(event_base_new())
    do {
      let base = unsafe try EventBase(adopting: raw)
      let (socket, peer) = try connectedPair(base)
      var elapsed: Duration?
      let timer = EventTimer(interval: .zero, isSingleShot: true, eventBase: base)
      timer.timeout.connect {
        Self.burn()
        let begin = ContinuousClock.now
        wait.start(socket) { elapsed = ContinuousClock.now - begin }
      }
      timer.start()
      let deadline = ContinuousClock.now + Loop.limit
      while elapsed == nil && ContinuousClock.now < deadline {
        unsafe event_base_loop(raw, CInt(CLIBEVENT_LOOP_ONCE | CLIBEVENT_LOOP_NO_EXIT_ON_EMPTY))
      }
      #expect(elapsed ?? .zero >= Self.least)
      socket.abort()
      withExtendedLifetime(peer) {}
    }
    unsafe event_base_free(raw)
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
      let stop = ContinuousClock.now
      await #expect(throws: SocketError.socketTimeout) { try await waiting.value }
      // Not before the peer had been silent for the limit, which began after its last bytes at the latest.
      #expect(ContinuousClock.now - stop >= limit / 2)
    }
  }
}
