// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Testing

@testable import TCPServerKit

@Suite("A timer of the loop without memory", .timeLimit(.minutes(5)))
struct LoopTimerTests {
  /// A new timer for which libevent has no memory. The first allocation is that of the object itself.
  private static func starved(on base: EventBase, _ action: @escaping () -> Void) -> LoopTimer {
    fault_fail_allocation(2, 1)
    defer { fault_clear() }
    return LoopTimer(base.engine, after: .seconds(3600), action: action)
  }

  @Test("Fires in the next turn, which is early, and not within the call")
  func early() async throws {
    guard fault_counts_allocations() else { return }
    try await onLoop { base in
      var calls = 0
      let timer = Self.starved(on: base) { calls += 1 }
      #expect(calls == 0)
      try await until { calls > 0 }
      timer.restart(after: .seconds(3600))
      #expect(calls == 1)
      try await until { calls == 2 }
      await turns()
      #expect(calls == 2)
    }
  }

  @Test("Does not fire once it is released")
  func released() async throws {
    guard fault_counts_allocations() else { return }
    try await onLoop { base in
      var calls = 0
      withExtendedLifetime(Self.starved(on: base) { calls += 1 }) {}
      await turns()
      #expect(calls == 0)
    }
  }
}
