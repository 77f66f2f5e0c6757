// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// What becomes of jobs, tasks and actors when their loop has ended.
@Suite("A loop that has ended", .timeLimit(.minutes(5)))
struct EndedLoopTests {
  private actor Pinned {
    private let executor: any SerialExecutor
    private var calls = 0

    init(_ base: EventBase) {
      executor = base.serialExecutor
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor {
      unsafe executor.asUnownedSerialExecutor()
    }

    func call() -> Int {
      preconditionIsolated()
      calls += 1
      return calls
    }
  }

  /// Waits for the global pool.
  private static func until(_ condition: () -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + Loop.limit
    while !condition() {
      guard ContinuousClock.now < deadline else { return false }
      await Task.yield()
    }
    return true
  }

  @Test("Handlers of after() that refer to the event base do not keep it", arguments: [false, true])
  func afterCycle(withBody: Bool) throws {
    weak var watched: EventBase?
    let fired = Flag()
    do {
      let base = try EventBase()
      watched = base
      base.schedule(after: .seconds(60)) {
        fired.set()
        base.stop()
      }
      if withBody {
        try base.run {}
      } else {
        base.execute { base.stop() }
        base.run()
      }
    }
    #expect(watched == nil)
    #expect(!fired.isSet)
  }

  @Test("Jobs that its thread gives afterwards run at once, and do not keep it", arguments: [false, true])
  func jobAfterwards(withBody: Bool) throws {
    weak var watched: EventBase?
    let ran = Counter()
    do {
      let base = try EventBase()
      watched = base
      if withBody {
        try base.run {}
      } else {
        base.stop()
        base.run()
      }
      for number in 0..<3 {
        // Used by this thread, the loop is still its own.
        if number == 1 { Signal<Void>(eventBase: base).connect {} }
        base.execute { withExtendedLifetime(base) { ran.increment() } }
        #expect(ran.value == number + 1)
      }
    }
    #expect(watched == nil)
  }

  @Test("Jobs and handlers that other threads give afterwards run in the pool, and do not keep it")
  func jobElsewhere() async throws {
    weak var watched: EventBase?
    let ran = Counter()
    do {
      let base = try EventBase()
      watched = base
      base.stop()
      base.runBlocking()
      OtherThread {
        base.execute { withExtendedLifetime(base) { ran.increment() } }
        base.schedule(after: .milliseconds(1)) { withExtendedLifetime(base) { ran.increment() } }
      }.join()
      base.schedule(after: .milliseconds(1)) { withExtendedLifetime(base) { ran.increment() } }
    }
    #expect(await Self.until { ran.value == 3 && watched == nil })
  }

  @Test("Jobs that are given before its end, in the same turn, are run by it")
  func jobOfTheLastTurn() throws {
    let base = try EventBase()
    let ran = Counter()
    for _ in 0..<3 {
      try base.run { base.execute { ran.increment() } }
    }
    #expect(ran.value == 3)
  }

  @Test("Jobs that were given before its end and not run do not keep it")
  func jobBefore() async throws {
    weak var watched: EventBase?
    let ran = Flag()
    do {
      let base = try EventBase()
      watched = base
      base.execute {
        base.stop()
        base.execute {
          base.execute {
            base.execute { withExtendedLifetime(base) { ran.set() } }
          }
        }
      }
      base.runBlocking()
    }
    #expect(await Self.until { ran.isSet && watched == nil })
  }

  @Test("What another thread gives to schedule() in the last turn is called, and does not keep it")
  func scheduledBefore() async throws {
    weak var watched: EventBase?
    let ran = Flag()
    do {
      let base = try EventBase()
      watched = base
      base.stop()
      base.execute {
        // Run with the last jobs; what is posted meanwhile is not.
        base.execute {
          OtherThread {
            base.schedule(after: .zero) { withExtendedLifetime(base) { ran.set() } }
          }.join()
        }
      }
      base.runBlocking()
    }
    #expect(await Self.until { ran.isSet && watched == nil })
  }

  @Test("A loop that is run again runs its jobs itself")
  func runAgain() throws {
    let base = try EventBase()
    try base.run {}
    let thread = OtherThread.currentID
    for _ in 0..<100 {
      let seen = try base.run {
        let first = OtherThread.currentID
        await Task.yield()
        return [first, OtherThread.currentID]
      }
      #expect(seen == [thread, thread])
    }
  }

  @Test("A task that was suspended goes on, and what it holds is released with the event base")
  func suspendedTask() async throws {
    weak var watched: EventBase?
    let gate = Gate()
    let isReset = Flag()
    nonisolated(unsafe) var peer: PlainClient?
    do {
      let base = try EventBase()
      watched = base
      try base.runBlocking {
        let server = try listening()
        unsafe peer = PlainClient(to: server)
        let socket = try #require(try await server.accept())
        Task(executorPreference: base.taskExecutor) {
          await gate.pass()
          let line = try? await socket.readLine()
          isReset.set(line == nil)
        }
        await Task.yield()
      }
    }
    gate.open()
    #expect(await Self.until { isReset.isSet })
    #expect(await Self.until { watched == nil })
    #expect(unsafe peer?.nextInput() != .nothing)
  }

  /// The last connection of a server on a loop that has ended, and a task that waits for the connection's end.
  private struct LastConnection: @unchecked Sendable {
    let server: TCPServer
    let waiting: Task<Bool, any Error>
    private let peer: PlainClient
    private let socket: Shared<TCPSocket?>

    static func make(on base: EventBase) throws -> LastConnection {
      try base.runBlocking { try await LastConnection() }
    }

    private init() async throws {
      let server = try listening()
      self.server = server
      peer = try #require(PlainClient(to: server))
      socket = Shared(try await server.accept())
      server.finish()
      waiting = start { try await server.waitUntilConnectionsEnded() }
    }

    func releaseElsewhere() {
      OtherThread { socket.value = nil }.join()
    }
  }

  @Test("A socket that another thread releases leaves the loop to whichever thread uses it next")
  func socketReleasedElsewhere() async {
    await #expect(processExitsWith: .success) {
      let base = try EventBase()
      let last = try LastConnection.make(on: base)
      last.releaseElsewhere()
      exit(last.server.statistics.live == 0 ? EXIT_SUCCESS : EXIT_FAILURE)
    }
  }

  @Test("A task goes on that waits for a connection whose socket another thread releases")
  func taskThatWaitsForRelease() async throws {
    let base = try EventBase()
    let last = try LastConnection.make(on: base)
    let hasEnded = Flag()
    Task { hasEnded.set(try await last.waiting.value) }
    last.releaseElsewhere()
    #expect(await Self.until { hasEnded.isSet })
  }

  @Test("Tasks that sleep on it sleep on, and end in time", arguments: [false, true])
  func sleeping(beforeEnd: Bool) async throws {
    let base = try EventBase()
    let began = ContinuousClock.now
    let slept = Shared<Duration?>(nil)
    let sleeping = try base.runBlocking {
      let task = Task(executorPreference: base.taskExecutor) {
        try await base.sleep(for: .milliseconds(30))
        slept.value = ContinuousClock.now - began
      }
      if beforeEnd { for _ in 0..<5 { await Task.yield() } }
      return task
    }
    if !beforeEnd { try await base.sleep(for: .milliseconds(1)) }
    try await sleeping.value
    #expect(try #require(slept.value) >= .milliseconds(25))
  }

  @Test("An actor of the loop goes on, one call at a time", arguments: [false, true])
  func actor(isReleased: Bool) async throws {
    var base: EventBase? = try EventBase()
    let pinned = try Pinned(#require(base))
    try base?.runBlocking { _ = await pinned.call() }
    if isReleased { base = nil }
    await withTaskGroup { group in
      for _ in 0..<100 {
        group.addTask { _ = await pinned.call() }
      }
    }
    #expect(await pinned.call() == 102)
    withExtendedLifetime(base) {}
  }

  @Test("So does one whose loop had a thread of its own")
  func actorOfAThread() async throws {
    let pinned = try await EventBase.withThread { Pinned($0) }
    #expect(await pinned.call() == 1)
  }

  @Test("A loop may be run and used while the pool runs what was left of it")
  func usedMeanwhile() async throws {
    let base = try EventBase()
    let ran = Counter()
    for round in 0..<50 {
      base.stop()
      base.runBlocking()
      for _ in 0..<10 {
        base.execute {
          sched_yield()
          ran.increment()
        }
      }
      let signal = Signal<Void>(eventBase: base)
      if round % 2 == 0 { signal.connect {} }
    }
    OtherThread {
      base.execute { base.stop() }
      base.run()
    }.join()
    #expect(await Self.until { ran.value == 500 })
  }
}
