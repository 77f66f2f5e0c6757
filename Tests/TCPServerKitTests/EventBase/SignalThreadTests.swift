// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Whose thread a signal belongs to. In release builds, too.
@Suite("Signals and threads", .timeLimit(.minutes(5)))
struct SignalThreadTests {
  @Test(
    "A member of a signal that another thread calls while the loop runs stops the program",
    arguments: 0..<5
  )
  func otherThread(member: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [member] in
      guard let base = try? EventBase() else { exit(0) }
      let signal = Signal<Int>(eventBase: base)
      let connection = signal.connect { _ in }
      base.execute {
        OtherThread {
          switch member {
          case 0: signal.connect { _ in }
          case 1: signal.disconnect(connection)
          case 2: signal.disconnectAll()
          case 3: signal.emit(1)
          default: _ = signal.isConnected
          }
        }.join()
        exit(0)
      }
      base.runBlocking()
    }
    let names = ["connect(_:)", "disconnect(_:)", "disconnectAll()", "emit(_:)", "isConnected"]
    let explanation = """
      Signal.\(names[member]) was called on another thread than its EventBase's, as by a plain Task, which runs \
      elsewhere. Call it from a handler of that loop, from Task(executorPreference: eventBase.taskExecutor), or in \
      EventBase.execute(_:).
      """
    #expect(text(result?.standardErrorContent)?.contains(explanation) == true)
  }

  @Test("Signals of servers and timers belong to their loop", arguments: 0..<5)
  func objects(signal: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [signal] in
      guard let base = try? EventBase() else { exit(0) }
      let server = TCPServer(eventBase: base)
      let added = server.newConnection
      let failed = server.acceptError
      let moved = server.serverAddressChanged
      let rejected = server.connectionRejected
      let timeout = EventTimer(interval: .zero, eventBase: base).timeout
      base.execute {
        OtherThread {
          switch signal {
          case 0: added.disconnectAll()
          case 1: failed.disconnectAll()
          case 2: moved.disconnectAll()
          case 3: rejected.disconnectAll()
          default: timeout.disconnectAll()
          }
        }.join()
        exit(0)
      }
      base.runBlocking()
    }
    #expect(
      text(result?.standardErrorContent)?.contains("Signal.disconnectAll() was called on another") == true
    )
  }

  @Test("Before the loop runs, a signal belongs to the first thread that uses it")
  func notRunning() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      guard let base = try? EventBase() else { exit(0) }
      let signal = Signal<Int>(eventBase: base)
      signal.connect { _ in }
      OtherThread { signal.emit(1) }.join()
      exit(0)
    }
    #expect(text(result?.standardErrorContent)?.contains("No thread runs the EventBase now.") == true)
  }

  @Test("Without a loop, a signal belongs to the first thread that uses it")
  func withoutLoop() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let signal = Signal<Int>(eventBase: nil)
      signal.connect { _ in }
      OtherThread { signal.emit(1) }.join()
      exit(0)
    }
    #expect(text(result?.standardErrorContent)?.contains("which has no EventBase.") == true)
  }

  @Test(
    "A loop that has ended belongs to the next thread that uses it, one that was turned to the one that did"
  )
  func afterRunning() throws {
    let base = try EventBase()
    let signal = Signal<Int>(eventBase: base)
    let calls = Counter()
    signal.connect { _ in calls.increment() }
    OtherThread {
      base.runOnce(timeout: .zero)
      signal.emit(1)
      base.stop()
      base.run()
    }.join()
    signal.emit(2)
    #expect(calls.value == 2)
  }

  @Test("Handlers of a signal that another thread releases last are released on the loop's thread")
  func release() throws {
    final class Witness {
      let released: @Sendable (Bool) -> Void
      init(_ released: @escaping @Sendable (Bool) -> Void) { self.released = released }
      deinit { released(EventBase.current != nil) }
    }
    let base = try EventBase()
    let onLoop = Counter()
    base.execute {
      nonisolated(unsafe) var signal: Signal<Void>? = Signal(eventBase: base)
      let witness = Witness { isOnLoop in
        if isOnLoop { onLoop.increment() }
        base.stop()
      }
      unsafe signal?.connect { withExtendedLifetime(witness) {} }
      OtherThread { unsafe signal = nil }.join()
    }
    OtherThread { base.run() }.join()
    #expect(onLoop.value == 1)
  }
}
