// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// A loop whose kernel does not do what it should.
@Suite("A broken loop", .blocking, .timeLimit(.minutes(5)))
struct BrokenLoopTests {
  @Test("While the kernel does not wait for events, the loop rests longer and longer, and goes on afterwards")
  func cannotWait() throws {
    let base = try EventBase()
    fault_stop_clock()
    fault_skip_waits(true)
    defer {
      fault_skip_waits(false)
      fault_reset_clock()
    }
    let before = ContinuousClock.now
    fault_reset_counts()
    fault_fail(FAULT_EPOLL_WAIT, 1, 12, EBADF)
    try base.run {
      try await base.sleep(for: .milliseconds(1))
    }
    #expect(fault_failures(FAULT_EPOLL_WAIT) == 12)
    // 5 ms, doubling to a tenth of a second.
    #expect(ContinuousClock.now - before >= .milliseconds(5 + 10 + 20 + 40 + 80 + 7 * 100))
  }

  @Test("Meanwhile it runs the jobs of other threads, which end its rest")
  func jobsMeanwhile() throws {
    let base = try EventBase()
    fault_fail(FAULT_EPOLL_WAIT, 1, -1, EBADF)
    defer { fault_clear() }
    let ran = Counter()
    let other = Background {
      for _ in 0..<10 {
        base.execute { ran.increment() }
        sched_yield()
      }
      base.execute { base.stop() }
    }
    base.run()
    other.join()
    #expect(ran.value == 10)
  }

  @Test("A wake-up that cannot be read does not keep the loop busy")
  func cannotClear() throws {
    let base = try EventBase()
    fault_stop_clock()
    fault_skip_waits(true)
    defer {
      fault_clear()
      fault_skip_waits(false)
      fault_reset_clock()
    }
    fault_fail(FAULT_READ, 1, -1, EIO)
    let ran = Flag()
    Background { base.execute { ran.set() } }.join()
    base.runOnce()
    #expect(ran.isSet)
    fault_reset_counts()
    let before = ContinuousClock.now
    base.runOnce(timeout: .seconds(1))
    #expect(fault_calls(FAULT_READ) == 0)
    #expect(ContinuousClock.now - before >= .seconds(1))
  }
}
