// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// What Swift's runtime gives the loop to do, by the way a task gets there. With one class in both roles of
/// the executors, the rows of plain functions, `@concurrent` ones and of waiting would cost more.
@Suite("Jobs of a task on the loop", .timeLimit(.minutes(5)))
struct ExecutorTests {
  @Test("No executor has both roles, which a job does not name")
  func roles() throws {
    let base = try EventBase()
    let taskExecutor: any Executor = base.taskExecutor
    let serialExecutor: any Executor = base.serialExecutor
    #expect(!(taskExecutor is any SerialExecutor))
    #expect(!(serialExecutor is any TaskExecutor))
  }

  @Test("Calls cost no job")
  func calls() async throws {
    try await onLoop { base in
      let here = await Jobs.each(base) { await callersFunction() }
      let concurrent = await Jobs.each(base) { await concurrentFunction() }
      report("a function of its caller's isolation", here)
      report("a @concurrent function", concurrent)
      #expect(here == Jobs(0))
      #expect(concurrent == Jobs(0))
    }
  }

  @Test("Waiting for the loop costs one job, and going on at once none")
  func waiting() async throws {
    try await onLoop { base in
      let waiting = try await Jobs.each(base) { try await base.sleep(for: .zero) }
      let atOnce = await Jobs.each(base) {
        await withCheckedContinuation { $0.resume() }
      }
      report("a wait that the loop ends", waiting)
      report("a wait that is over at once", atOnce)
      #expect(waiting == Jobs(1))
      #expect(atOnce == Jobs(0))
    }
  }

  @Test("Child tasks cost one job, immediate ones none")
  func children() async throws {
    try await onLoop { base in
      let child = await Jobs.each(base) {
        await withTaskGroup { $0.addTask {} }
      }
      let immediate = await Jobs.each(base) {
        await withTaskGroup { $0.addImmediateTask {} }
      }
      report("a child task", child)
      report("an immediate child task", immediate)
      // Waiting for a child that was queued may be a wait of its own.
      #expect(1...2 ~= child.all && child.fromElsewhere == 0)
      #expect(immediate == Jobs(0))
    }
  }

  @Test("An actor pinned to the loop hops from an ordinary task, and queues more from one on the loop")
  func actors() async throws {
    try await onLoop { base in
      let actor = Pinned(to: base)
      let fromLoop = await Jobs.each(base) { await actor.wait() }
      report("a wait in a pinned actor, called by a task on the loop", fromLoop)
      let counting = Task { @concurrent in
        let before = await actor.statistics
        for _ in 0..<Jobs.rounds { await actor.wait() }
        let after = await actor.statistics
        return (before, after)
      }
      let (before, after) = await counting.value
      let hops = Double(after.jobsFromOtherThreads - before.jobsFromOtherThreads) / Double(Jobs.rounds)
      print("a wait in a pinned actor, called by an ordinary task: \(hops) from another thread")
      #expect(fromLoop.fromElsewhere == 0)
      #expect(hops >= 1)
    }
  }

  private func report(_ what: String, _ jobs: Jobs) {
    print("\(what): \(jobs)")
  }
}

private func callersFunction() async {}

@concurrent private func concurrentFunction() async {}
