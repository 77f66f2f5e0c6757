// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Handlers that actors connect", .timeLimit(.minutes(5)))
struct ActorHandlerTests {
  @Test("A handler that an actor connects runs beside it, and standard error says so once")
  func plainActor() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      try await EventBase.withThread { _ in
        let counter = CallCounter()
        let signals = (Signal<Int>(), Signal<Void>())
        await counter.attach(to: signals.0)
        await counter.attach(to: signals.1)
        signals.0.emit(1)
        signals.1.emit()
        guard await counter.count == 2 else { exit(1) }
      }
    }
    let lines = """
      TCPServerKit: the actor CallCounter connects a handler, which runs on the thread of the EventBase and not in \
      the actor: what both use is not safe. Give the actor the EventBase's serialExecutor, or connect in a nonisolated \
      function a handler that calls the actor in a Task.

      """
    #expect(text(result?.standardErrorContent) == lines)
  }

  @Test(
    "An actor of the loop, and one that turns the loop itself, connect without a word"
  )
  func othersAreSafe() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      try await EventBase.withThread { base in
        let signal = Signal<Int>()
        await PinnedCallCounter(on: base).attach(to: signal)
        attach(to: signal)
        signal.emit(1)
      }
      try await CallCounter().runALoop()
    }
    #expect(text(result?.standardErrorContent) == "")
  }
}

/// As an extension that belongs to no actor connects.
private func attach(to signal: Signal<Int>) {
  signal.connect { _ in }
}

private actor CallCounter {
  var count = 0

  func attach(to signal: Signal<Int>) {
    signal.connect { self.count += $0 }
  }

  func attach(to signal: Signal<Void>) {
    signal.connect { self.count += 1 }
  }

  func runALoop() throws {
    let base = try EventBase()
    let signal = Signal<Void>(eventBase: base)
    signal.connect {
      self.count += 1
      base.stop()
    }
    base.execute { signal.emit() }
    base.runBlocking()
  }
}

private actor PinnedCallCounter {
  private let base: EventBase
  private var count = 0

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe base.serialExecutor.asUnownedSerialExecutor()
  }

  init(on base: EventBase) {
    self.base = base
  }

  func attach(to signal: Signal<Int>) {
    signal.connect { self.count += $0 }
  }
}
