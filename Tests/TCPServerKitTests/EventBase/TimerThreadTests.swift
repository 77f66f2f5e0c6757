// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Timers and threads", .timeLimit(.minutes(5)))
struct TimerThreadTests {
  @Test("schedule() may be called from any thread, and its handler runs on the loop's")
  func after() throws {
    let base = try EventBase()
    let thread = Shared("")
    OtherThread {
      base.schedule(after: .milliseconds(1)) {
        thread.value = OtherThread.currentID
        base.stop()
      }
    }.join()
    base.run()
    #expect(thread.value == OtherThread.currentID)
  }

  @Test(
    "What the loop's thread gives to schedule() is called where a second thread begins to run the loop meanwhile"
  )
  func handOver() throws {
    for _ in 0..<50 {
      let base = try EventBase()
      base.schedule(after: .zero) {}
      let running = OtherThread { base.run() }
      let called = Counter()
      for _ in 0..<20 {
        base.schedule(after: .zero) { called.increment() }
      }
      base.schedule(after: .milliseconds(5)) { base.stop() }
      running.join()
      #expect(called.value == 20)
    }
  }

  @Test("A timer may be started and stopped from any thread, in the order of the calls")
  func startStop() throws {
    let base = try EventBase()
    let timer = EventTimer(interval: .milliseconds(1), eventBase: base)
    let ticks = Counter()
    let mayTick = Flag()
    timer.timeout.connect {
      ticks.increment()
      if mayTick.isSet { base.stop() }
    }
    base.execute {
      OtherThread {
        timer.start()
        timer.stop()
        base.schedule(after: .milliseconds(20)) {
          #expect(ticks.value == 0)
          #expect(!timer.isActive)
          mayTick.set()
          OtherThread { #expect(timer.start()) }.join()
        }
      }.join()
    }
    base.run()
    #expect(ticks.value > 0)
  }

  @Test("A timer that another thread releases last ends on the loop's thread")
  func release() throws {
    let base = try EventBase()
    let ticks = Counter()
    base.execute {
      for _ in 0..<100 {
        nonisolated(unsafe) var timer: EventTimer? = EventTimer(interval: .zero, eventBase: base)
        unsafe timer?.timeout.connect { ticks.increment() }
        unsafe timer?.start()
        OtherThread { unsafe timer = nil }.join()
      }
      base.schedule(after: .milliseconds(5)) { base.stop() }
    }
    base.run()
    #expect(ticks.value == 0)
  }

  @Test("Members that answer stop the program on another thread", arguments: 0..<3)
  func answers(member: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [member] in
      guard let base = try? EventBase() else { exit(0) }
      let timer = EventTimer(interval: .zero, eventBase: base)
      base.execute {
        OtherThread {
          switch member {
          case 0: _ = timer.isActive
          case 1: timer.interval = .seconds(1)
          default: timer.isSingleShot = true
          }
        }.join()
        exit(0)
      }
      base.runBlocking()
    }
    let name = ["isActive", "interval", "isSingleShot"][member]
    let explanation =
      "EventTimer.\(name) was called on another thread than its EventBase's, as by a plain Task"
    #expect(text(result?.standardErrorContent)?.contains(explanation) == true)
  }

  @Test("Any task may sleep on a loop")
  func sleep() async throws {
    try await onLoop { base in
      let begin = ContinuousClock.now
      try await Task.detached { try await base.sleep(for: .milliseconds(20)) }.value
      #expect(ContinuousClock.now - begin >= .milliseconds(15))
      let sleeping = Task.detached { try await base.sleep(for: .seconds(1000)) }
      sleeping.cancel()
      await #expect(throws: CancellationError.self) { try await sleeping.value }
    }
  }
}
