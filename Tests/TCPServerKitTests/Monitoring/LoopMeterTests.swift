// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerKit

@Suite("The meter of a loop", .timeLimit(.minutes(5)))
struct LoopMeterTests {
  @Test("Each look says how late it was, and no look is given twice")
  func looks() async throws {
    try await onLoops(1) { loops in
      let base = loops.eventBases[0]
      let meter = LoopMeter(base.engine)
      #expect(meter.reading.looks == 0)
      await base.engine.run { meter.start() }
      try await until { meter.reading.looks >= 2 }
      let first = meter.reading
      #expect(first.latest.count == first.looks && first.latest.allSatisfy { $0 >= 0 })
      try await until { meter.reading.looks > first.looks }
      let second = meter.reading
      #expect(second.lateness(since: first).count >= second.looks - first.looks)
      let busy = try #require(second.busy(since: first))
      #expect((0...1).contains(busy))
      await base.engine.run { meter.stop() }
      let last = meter.reading
      #expect(last.overdue == 0 && last.lateness(since: last).isEmpty)
    }
  }

  @Test("A loop that is stuck is overdue, as any thread can see")
  func stuck() async throws {
    try await onLoops(1) { loops in
      let base = loops.eventBases[0]
      let meter = LoopMeter(base.engine)
      await base.engine.run { meter.start() }
      let blocking = try Blockade()
      base.execute { blocking.block() }
      try await until { meter.reading.overdue > 0 }
      let stuck = meter.reading
      #expect(stuck.lateness(since: stuck) == [stuck.overdue])
      blocking.open()
      try await until { meter.reading.looks > stuck.looks && meter.reading.overdue == 0 }
      await base.engine.run { meter.stop() }
    }
  }

  @Test("Only the latest looks are kept")
  func ring() {
    var reading = LoopMeter.Reading()
    reading.looks = 5
    reading.latest = [3, 4]
    #expect(reading.lateness(since: nil) == [3, 4])
    var earlier = LoopMeter.Reading()
    earlier.looks = 4
    #expect(reading.lateness(since: earlier) == [4])
    #expect(reading.busy(since: earlier) == nil)
  }
}
