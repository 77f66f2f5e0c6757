// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Signals concern the whole process, and one event base at a time can take them.
@Suite("EventBase and signals", .blocking, .serialized, .timeLimit(.minutes(5)))
struct EventBaseSignalTests {
  @Test(
    "stopOnSignals() ends the loop when the process receives one of them",
    arguments: [SIGUSR1, SIGUSR2, SIGUSR1]
  )
  func stopOnSignals(signal: CInt) throws {
    let base = try EventBase()
    #expect(base.stopOnSignals(SIGUSR1, SIGUSR2))
    base.execute { kill(getpid(), signal) }
    base.run()
    // The run ended for the signal: without it nothing else would have ended it.
  }

  @Test("Where a loop runs for a body, that is cancelled")
  func cancelsBody() throws {
    let base = try EventBase()
    #expect(base.stopOnSignals(SIGUSR1))
    #expect(throws: CancellationError.self) {
      try base.run {
        kill(getpid(), SIGUSR1)
        try await base.sleep(for: .seconds(100_000))
      }
    }
  }

  @Test(
    "Where the loops of a group run for a body, that is cancelled whichever of them asks",
    arguments: 0..<3
  )
  func cancelsBodyOfGroup(loop: Int) async throws {
    await #expect(throws: CancellationError.self) {
      try await EventBaseGroup.withThreads(loops: 2, accepting: .ownThread) { group in
        #expect((group.eventBases + [group.acceptingEventBase])[loop].stopOnSignals(SIGUSR1))
        kill(getpid(), SIGUSR1)
        try await group.eventBases[0].sleep(for: .seconds(100_000))
      }
    }
  }
}
