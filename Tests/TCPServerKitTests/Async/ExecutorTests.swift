import Synchronization
import TCPServerKit
import Testing

/// What Swift's runtime gives the loop to do, by the way a task gets there. With one class in both roles of
/// the executors, the rows of plain functions, `@concurrent` ones and of waiting would cost more.
@Suite("Jobs of a task on the loop", .timeLimit(.minutes(1)))
struct ExecutorTests {
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

  // MARK: - Isolation

  @Test("An actor pinned to the loop runs on its thread, and the loop's callbacks are in its isolation")
  func isolation() async throws {
    try await onLoop { base in
      let loopThread = OtherThread.currentID
      let actor = Pinned(to: base)
      #expect(await actor.thread() == loopThread)
      actor.preconditionIsolated()
      // Where no task runs: in a handler.
      let server = try listening()
      server.newConnection.connect { actor.assumeIsolated { $0.count += 1 } }
      let client = try #require(PlainClient(to: server))
      #expect(try await server.accept()?.peerPort == client.port)
      #expect(await actor.count == 1)
    }
  }

  @Test("A pinned actor can own a server and its sockets")
  func actorOwnsServer() async throws {
    try await onLoop { base in
      let actor = Pinned(to: base)
      let port = try await actor.listen()
      let answering = start { try await actor.answerOne() }
      let client = TCPSocket()
      try await client.connect(to: "127.0.0.1", port: port)
      try await client.write("hello\n")
      #expect(text(try await client.readLine()) == "hello\n")
      try await answering.value
    }
  }

  @Test("serve() runs its handlers on the loop, whatever isolation calls it")
  func servedFromActor() async throws {
    try await onLoop { base in
      let loopThread = OtherThread.currentID
      let actor = Pinned(to: base)
      let port = try await actor.listen()
      let serving = start { try await actor.serve(from: loopThread) }
      let client = TCPSocket()
      try await client.connect(to: "127.0.0.1", port: port)
      #expect(text(try await client.readLine()) == "1 job a round, no hop\n")
      serving.cancel()
      _ = await serving.result
    }
  }
}

private func callersFunction() async {}

@concurrent private func concurrentFunction() async {}

/// An actor whose thread is a loop's.
private actor Pinned {
  private let base: EventBase
  private let executor: any SerialExecutor
  private var server: TCPServer?
  var count = 0

  init(to base: EventBase) {
    self.base = base
    executor = base.serialExecutor
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe executor.asUnownedSerialExecutor()
  }

  var statistics: EventBase.Statistics {
    base.statistics
  }

  func wait() async {
    try? await base.sleep(for: .zero)
  }

  func thread() -> String {
    OtherThread.currentID
  }

  func listen() throws -> UInt16 {
    let server = try listening(on: base)
    self.server = server
    return server.serverPort
  }

  func answerOne() async throws {
    let socket = try #require(await server?.accept())
    while let line = try await socket.readLine() {
      try await socket.write(line)
      break
    }
    await socket.closeGracefully()
  }

  func serve(from thread: String) async throws {
    let base = base
    try await server?.serve { socket in
      #expect(OtherThread.currentID == thread)
      let jobs = try await Jobs.each(base) { try await base.sleep(for: .zero) }
      try await socket.write(jobs == Jobs(1) ? "1 job a round, no hop\n" : "\(jobs)\n")
    }
  }
}
