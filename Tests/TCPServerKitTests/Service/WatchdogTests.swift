// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// Signs of life, which stop where a loop is stuck.
@Suite("A watchdog of loops", .timeLimit(.minutes(5)))
struct WatchdogTests {
  /// Runs `body` while the loops of `group` are watched.
  private func whileWatched(
    _ group: EventBaseGroup,
    interval: Duration? = .milliseconds(20),
    _ body: (FakeManager) async throws -> Void
  ) async throws {
    let manager = try FakeManager()
    let notifier = ServiceNotifier(manager: manager.path, watchdogInterval: interval)
    let watchdog = Task.detached { await notifier.pingWatchdog(whileAnswering: group) }
    do {
      try await body(manager)
    } catch {
      watchdog.cancel()
      throw error
    }
    watchdog.cancel()
    await watchdog.value
  }

  @Test("Loops that turn are reported again and again")
  func pings() async throws {
    try await onLoops(2, accepting: .ownThread) { group in
      try await whileWatched(group) { manager in
        #expect(manager.texts(5) == Array(repeating: "WATCHDOG=1", count: 5))
      }
    }
  }

  @Test("While one loop is stuck nothing is sent, and then it goes on", arguments: [0, 1, 2])
  func stuck(which: Int) async throws {
    try await onLoops(2, accepting: .ownThread) { group in
      try await whileWatched(group) { manager in
        #expect(manager.receive()?.text == "WATCHDOG=1")
        let blockade = try Blockade()
        let isBlocked = Latch()
        let base = which < 2 ? group.eventBases[which] : group.acceptingEventBase
        base.execute {
          isBlocked.open()
          blockade.block()
        }
        await isBlocked.wait()
        // Those that were answered before may still come.
        #expect((0..<100).contains { _ in manager.receive(within: 200) == nil })
        blockade.open()
        #expect(manager.receive()?.text == "WATCHDOG=1")
      }
    }
  }

  @Test("It is cancelled while a loop is stuck")
  func cancelled() async throws {
    try await onLoops(2) { group in
      let blockade = try Blockade()
      try await whileWatched(group) { manager in
        #expect(manager.receive()?.text == "WATCHDOG=1")
        group.eventBases[1].execute { blockade.block() }
      }
      blockade.open()
    }
  }

  @Test("A manager that wants no signs of life gets none")
  func none() async throws {
    try await onLoops(1) { group in
      let manager = try FakeManager()
      await ServiceNotifier(manager: manager.path).pingWatchdog(whileAnswering: group)
      #expect(manager.receive(within: 0) == nil)
    }
  }
}
