// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import TCPServerKit
import Testing

/// A loop whose clock is stopped between the steps of a test.
private final class SteppedLoop {
  let base: EventBase

  init() throws {
    base = try EventBase()
    fault_stop_clock()
  }

  deinit {
    fault_reset_clock()
  }

  /// Lets the time pass, and everything happen that is due.
  func pass(_ msec: Int64) {
    fault_advance_clock(msec)
    for _ in 0..<3 {
      base.runOnce(timeout: .zero)
    }
  }
}

@Suite("EventTimer", .blocking, .timeLimit(.minutes(5)))
struct EventTimerTests {
  @Test("Ticks at each interval until it is stopped, and not before")
  func repeats() throws {
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), eventBase: loop.base)
    var ticks = 0
    timer.timeout.connect { ticks += 1 }
    loop.pass(50)
    #expect(ticks == 0 && !timer.isActive)
    #expect(timer.start())
    for expected in 1...5 {
      loop.pass(9)
      #expect(ticks == expected - 1)
      loop.pass(1)
      #expect(ticks == expected && timer.isActive)
    }
    timer.stop()
    #expect(!timer.isActive)
    loop.pass(50)
    #expect(ticks == 5)
    timer.stop()
    #expect(timer.start())
    loop.pass(10)
    #expect(ticks == 6)
  }

  @Test("A single shot ticks once for each start, and is not active in its handler")
  func singleShot() throws {
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), isSingleShot: true, eventBase: loop.base)
    var wasActive: [Bool] = []
    timer.timeout.connect { [unowned timer] in wasActive.append(timer.isActive) }
    for _ in 0..<2 {
      timer.start()
      loop.pass(10)
      loop.pass(50)
    }
    #expect(wasActive == [false, false])
  }

  @Test("Does not drift; ticks that a busy loop has missed are not made up for")
  func late() throws {
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), eventBase: loop.base)
    var ticks = 0
    timer.timeout.connect { ticks += 1 }
    timer.start()
    // 4 ms late, and then when it would have been without.
    loop.pass(14)
    #expect(ticks == 1)
    loop.pass(6)
    #expect(ticks == 2)
    // Three and a half intervals: one tick, and the next an interval later.
    loop.pass(35)
    #expect(ticks == 3)
    loop.pass(9)
    #expect(ticks == 3)
    loop.pass(1)
    #expect(ticks == 4)
  }

  @Test("Counts from the start, however long the handler has run that starts it")
  func startedLate() throws {
    let loop = try SteppedLoop()
    let (first, second) = (
      EventTimer(interval: .milliseconds(10), isSingleShot: true, eventBase: loop.base),
      EventTimer(interval: .milliseconds(10), isSingleShot: true, eventBase: loop.base)
    )
    var ticks = 0
    var calls = 0
    first.timeout.connect {
      fault_advance_clock(100)
      second.start()
      loop.base.afterOnThisThread(.milliseconds(10)) { calls += 1 }
    }
    second.timeout.connect { ticks += 1 }
    first.start()
    loop.pass(10)
    loop.pass(9)
    #expect(ticks == 0 && calls == 0)
    loop.pass(1)
    #expect(ticks == 1 && calls == 1)
  }

  @Test("Another start, or another interval while it is active, counts from its own time")
  func restarted() throws {
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), eventBase: loop.base)
    var ticks = 0
    timer.timeout.connect { ticks += 1 }
    timer.interval = .milliseconds(20)
    #expect(!timer.isActive)
    timer.start()
    loop.pass(19)
    timer.start()
    loop.pass(19)
    #expect(ticks == 0)
    timer.interval = .milliseconds(5)
    loop.pass(4)
    #expect(ticks == 0)
    loop.pass(1)
    #expect(ticks == 1)
    loop.pass(5)
    #expect(ticks == 2)
  }

  @Test("No interval is a trap: too short ones are each turn of the loop, too long ones never")
  func extremes() throws {
    let loop = try SteppedLoop()
    var ticks = 0
    for interval in [.seconds(Int64.min), .seconds(-1), .nanoseconds(-1), .zero, .nanoseconds(1)]
      as [Duration]
    {
      ticks = 0
      let timer = EventTimer(interval: interval, eventBase: loop.base)
      timer.timeout.connect { ticks += 1 }
      #expect(timer.start())
      loop.pass(1)
      loop.pass(1)
      #expect(ticks >= 2)
    }
    ticks = 0
    for interval in [.seconds(Int64.max), .seconds(Int64.max) * 10, .seconds(2_000_000_000)] as [Duration] {
      let timer = EventTimer(interval: interval, eventBase: loop.base)
      timer.timeout.connect { ticks += 1 }
      #expect(timer.start())
      loop.base.afterOnThisThread(interval) { ticks += 1 }
      loop.pass(100)
    }
    #expect(ticks == 0)
  }

  // MARK: - In its own handler

  @Test("A handler may stop the timer")
  func stoppedInHandler() throws {
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), eventBase: loop.base)
    var ticks = 0
    timer.timeout.connect { [unowned timer] in
      ticks += 1
      if ticks == 2 { timer.stop() }
    }
    timer.start()
    for _ in 0..<5 { loop.pass(10) }
    #expect(ticks == 2 && !timer.isActive)
  }

  @Test("A handler may restart it, a single shot too, with another interval", arguments: [false, true])
  func restartedInHandler(isSingleShot: Bool) throws {
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), isSingleShot: isSingleShot, eventBase: loop.base)
    var ticks = 0
    timer.timeout.connect { [unowned timer] in
      ticks += 1
      timer.interval = .milliseconds(20)
      timer.start()
    }
    timer.start()
    loop.pass(10)
    loop.pass(19)
    #expect(ticks == 1)
    loop.pass(1)
    #expect(ticks == 2 && timer.isActive)
  }

  @Test("A handler may release it, with handlers still to be called", arguments: [false, true])
  func releasedInHandler(isSingleShot: Bool) throws {
    let loop = try SteppedLoop()
    var timer: EventTimer? = EventTimer(
      interval: .milliseconds(10),
      isSingleShot: isSingleShot,
      eventBase: loop.base
    )
    weak let watched = timer
    var ticks: [Int] = []
    timer?.timeout.connect {
      ticks.append(1)
      timer = nil
    }
    timer?.timeout.connect { ticks.append(2) }
    timer?.start()
    loop.pass(10)
    loop.pass(50)
    #expect(ticks == [1, 2])
    #expect(watched == nil)
  }

  @Test("A handler may stop or release another that is due in the same turn")
  func othersInHandler() throws {
    let loop = try SteppedLoop()
    let timers = (0..<3).map { _ in EventTimer(interval: .milliseconds(10), eventBase: loop.base) }
    var released: EventTimer? = timers[2]
    var others = timers[1...].map { $0 }
    var ticks: [Int] = []
    for (number, timer) in timers.enumerated() {
      timer.timeout.connect {
        ticks.append(number)
        others.forEach { $0.stop() }
        others = []
        released = nil
      }
      timer.start()
    }
    #expect(released != nil)
    loop.pass(10)
    #expect(ticks == [0])
  }

  @Test("A handler may release the event base: the timer has stopped for good")
  func baseReleased() throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    var base: EventBase? = try EventBase()
    let timer = EventTimer(interval: .milliseconds(10), eventBase: base)
    var ticks = 0
    timer.timeout.connect {
      ticks += 1
      base = nil
    }
    timer.start()
    fault_advance_clock(10)
    base?.runOnce(timeout: .zero)
    #expect(ticks == 1 && base == nil)
    #expect(!timer.isActive)
    #expect(!timer.start())
    #expect(!timer.isActive)
    timer.stop()
  }

  // MARK: - Lifetime

  @Test("One that is released ticks no more")
  func released() throws {
    let loop = try SteppedLoop()
    var timer: EventTimer? = EventTimer(interval: .milliseconds(10), eventBase: loop.base)
    var ticks = 0
    timer?.timeout.connect { ticks += 1 }
    timer?.start()
    loop.pass(10)
    timer = nil
    loop.pass(50)
    #expect(ticks == 1)
  }

  @Test("Lives on the thread's event base by default; without one it does not start")
  func defaultBase() {
    let seen = Background { () -> [Bool] in
      let without = EventTimer(interval: .zero)
      var seen = [without.start(), without.isActive]
      without.stop()
      guard let base = try? EventBase() else { return [Bool]() }
      let timer = EventTimer(interval: .zero)
      timer.timeout.connect { base.stop() }
      seen += [timer.start(), timer.isActive]
      base.run()
      return seen
    }
    #expect(seen.join() == [false, false, true, true])
  }

  @Test("Without memory it does not start, and says so; with memory again it does")
  func outOfMemory() throws {
    guard fault_counts_allocations() else { return }
    let loop = try SteppedLoop()
    let timer = EventTimer(interval: .milliseconds(10), eventBase: loop.base)
    fault_fail_allocation(1, -1)
    let started = timer.start()
    fault_clear()
    #expect(!started && !timer.isActive)
    #expect(timer.start())
  }

  @Test("On an event_base that C code runs it ticks, too")
  func adopted() throws {
    let plain = try EventBaseTests.PlainBase()
    let base = unsafe try EventBase(adopting: plain.base)
    let timer = EventTimer(interval: .milliseconds(1), eventBase: base)
    var (ticks, calls) = (0, 0)
    timer.timeout.connect { ticks += 1 }
    timer.start()
    base.afterOnThisThread(.milliseconds(1)) { calls += 1 }
    #expect(plain.run { ticks >= 3 && calls == 1 })
  }

  @Test(
    "On one that C code runs it has stopped for good when the event base is released",
    arguments: [false, true]
  )
  func adoptedReleased(isSingleShot: Bool) throws {
    fault_stop_clock()
    defer { fault_reset_clock() }
    let plain = try EventBaseTests.PlainBase()
    var base: EventBase? = unsafe try EventBase(adopting: plain.base)
    let timer = EventTimer(interval: .milliseconds(10), isSingleShot: isSingleShot, eventBase: base)
    var ticks = 0
    timer.timeout.connect { ticks += 1 }
    timer.start()
    plain.turn()
    base = nil
    for _ in 0..<3 {
      fault_advance_clock(10)
      plain.turn()
    }
    #expect(ticks == 0 && !timer.isActive)
  }

  // MARK: - after

  @Test("schedule() calls each handler once, when its time has come, and releases it")
  func after() throws {
    final class Captured {}
    let loop = try SteppedLoop()
    var captured: Captured? = Captured()
    weak let watched = captured
    var calls: [Int] = []
    loop.base.afterOnThisThread(.milliseconds(20)) { calls.append(20) }
    loop.base.afterOnThisThread(.milliseconds(10)) { [captured] in
      _ = captured
      calls.append(10)
      loop.base.afterOnThisThread(.milliseconds(5)) { calls.append(15) }
    }
    loop.base.afterOnThisThread(.seconds(-1)) { calls.append(0) }
    captured = nil
    loop.pass(1)
    #expect(calls == [0] && watched != nil)
    loop.pass(9)
    #expect(calls == [0, 10] && watched == nil)
    loop.pass(5)
    loop.pass(5)
    loop.pass(50)
    #expect(calls == [0, 10, 15, 20])
  }

  @Test("An event base that is released drops the handlers of after(), and may be released in one")
  func afterReleased() throws {
    final class Captured {}
    fault_stop_clock()
    defer { fault_reset_clock() }
    var base: EventBase? = try EventBase()
    var captured: Captured? = Captured()
    weak let watched = captured
    var calls = 0
    base?.afterOnThisThread(.milliseconds(20)) { [captured] in
      _ = captured
      calls += 1
    }
    base?.afterOnThisThread(.milliseconds(10)) {
      calls += 1
      base = nil
    }
    captured = nil
    fault_advance_clock(10)
    base?.runOnce(timeout: .zero)
    #expect(calls == 1 && base == nil)
    #expect(watched == nil)
  }
}
