// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("EventBase.sleep(for:)", .timeLimit(.minutes(5)))
struct SleepTests {
  @Test("Is not early, whatever the length", arguments: [1, 7, 30])
  func notEarly(msec: Int) async throws {
    try await onLoop { base in
      let begin = ContinuousClock.now
      try await base.sleep(for: .milliseconds(msec))
      // libevent counts on a clock that ticks every 4 ms at worst.
      #expect(ContinuousClock.now - begin >= .milliseconds(msec - 5))
    }
  }

  @Test("Goes by the loop's clock to the millisecond, and the shortest sleep ends first")
  func order() async throws {
    try await onLoop { base in
      fault_stop_clock()
      defer { fault_reset_clock() }
      let ended = LoopBound(Ended())
      let sleeping = [30, 10, 20].map { msec in
        start {
          try await base.sleep(for: .milliseconds(msec))
          ended.value.list.append(msec)
        }
      }
      for _ in 1...3 {
        let before = ended.value.list
        fault_advance_clock(9)
        await turns()
        #expect(ended.value.list == before)
        fault_advance_clock(1)
        try await until { ended.value.list.count > before.count }
      }
      #expect(ended.value.list == [10, 20, 30])
      for task in sleeping { try await task.value }
    }
  }

  private final class Ended {
    var list: [Int] = []
  }

  @Test(
    "A very long time does not pass at once: of a sleep, a read, a turn, a shutdown",
    arguments: [.seconds(2_000_000_000), .seconds(Int64.max), .seconds(Int64.max) * 10] as [Duration]
  )
  func veryLong(duration: Duration) async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let sleeping = start { try await base.sleep(for: duration) }
      let reading = start { try await pair.socket.read(maxLength: 1, timeout: duration) }
      await turns()
      pair.client.send("x")
      #expect(text(try await reading.value) == "x")
      sleeping.cancel()
      await #expect(throws: CancellationError.self) { try await sleeping.value }

      let server = try listening()
      let (bound, gate, shutdown) = (LoopBound(server), Gate(), GracefulShutdown())
      let serving = start { try await bound.value.serve(shutdown: shutdown) { _ in await gate.pass() } }
      let client = try #require(PlainClient(to: server))
      try await until { server.statistics.delivered == 1 }
      shutdown.begin(timeout: duration)
      await turns()
      gate.open()
      #expect(try await serving.value.numbers == [1, 0, 1, 0])
      withExtendedLifetime(client) {}
    }
    let base = try EventBase()
    let job = OtherThread { base.execute {} }
    base.runOnceBlocking(timeout: duration)
    job.join()
    #expect(base.statistics.jobs == 1)
  }

  @Test("Less than no time has passed at once")
  func negative() async throws {
    try await onLoop { base in
      try await base.sleep(for: .seconds(-5))
      let pair = try await Pair()
      await #expect(throws: SocketError.socketTimeout) {
        try await pair.socket.read(maxLength: 1, timeout: .milliseconds(-1))
      }
    }
  }

  @Test("Cancellation ends it at once", arguments: [false, true])
  func cancelled(fromElsewhere: Bool) async throws {
    try await onLoop { base in
      let sleeping = start { try await base.sleep(for: .seconds(100_000)) }
      await turns(3)
      if fromElsewhere {
        OtherThread { sleeping.cancel() }.join()
      } else {
        sleeping.cancel()
      }
      await #expect(throws: CancellationError.self) { try await sleeping.value }

      let cancelledBefore = start {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        try await base.sleep(for: .seconds(100_000))
      }
      await #expect(throws: CancellationError.self) { try await cancelledBefore.value }
    }
  }

  @Test("Zero and less let the loop turn once")
  func nothing() async throws {
    try await onLoop { base in
      for duration in [Duration.zero, .seconds(-5), .nanoseconds(-1)] {
        let ran = Flag()
        base.execute { ran.set() }
        try await base.sleep(for: duration)
        #expect(ran.isSet)
      }
    }
  }

  @Test("What a task waits for next is not ended by the sleep before it")
  func late() async throws {
    try await onLoop { base in
      for round in 0..<200 {
        let sleeping = start {
          try? await base.sleep(for: .zero)
          try await base.sleep(for: .seconds(100_000))
        }
        for _ in 0..<round % 4 { await Task.yield() }
        sleeping.cancel()
        await #expect(throws: CancellationError.self) { try await sleeping.value }
      }
    }
  }
}
