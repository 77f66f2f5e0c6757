// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import TCPServerKit
import Testing

/// Writes to the loop's event descriptor, the only ones that giving a job makes. The counters belong to threads.
@Suite("What it costs to wake a loop", .timeLimit(.minutes(5)))
struct WakeUpTests {
  /// The `write` calls that `body` makes on this thread.
  private static func writes(_ body: () -> Void) -> UInt64 {
    let before = fault_calls(FAULT_WRITE)
    body()
    return fault_calls(FAULT_WRITE) - before
  }

  @Test("A burst from 8 threads costs one write until the loop has looked, and runs on the loop's thread")
  func burst() throws {
    let loop = try Loop()
    let base = loop.base
    let (ran, misplaced) = (Counter(), Counter())
    let loopThread = OtherThread.currentID
    for round in 1...3 {
      let threads = (0..<8).map { _ in
        Background {
          Self.writes {
            for _ in 0..<1000 {
              base.execute {
                ran.increment()
                if OtherThread.currentID != loopThread || EventBase.current !== base { misplaced.increment() }
              }
            }
          }
        }
      }
      #expect(threads.map { $0.join() }.reduce(0, +) == 1)
      #expect(loop.run { ran.value == round * 8000 })
    }
    #expect(misplaced.value == 0)
  }

  @Test("A job that the loop's own thread gives costs no write, nor does a task that yields there")
  func fromLoop() async throws {
    try await onLoop { base in
      let ran = Counter()
      let writes = fault_calls(FAULT_WRITE)
      for _ in 0..<100 {
        base.execute { ran.increment() }
        await Task.yield()
        try await base.sleep(for: .zero)
      }
      #expect(ran.value == 100)
      #expect(fault_calls(FAULT_WRITE) == writes)
    }
  }

  @Test("A job given while the loop runs jobs from elsewhere wakes it again")
  func whileRunning() throws {
    let loop = try Loop()
    let base = loop.base
    let ran = Flag()
    base.execute {
      // The loop has looked, so this is news to it.
      let writes = Background { Self.writes { base.execute { ran.set() } } }
      #expect(writes.join() == 1)
    }
    #expect(loop.run { ran.isSet })
  }
}
