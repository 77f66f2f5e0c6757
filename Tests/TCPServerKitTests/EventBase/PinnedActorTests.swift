// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Actors pinned to the loop", .timeLimit(.minutes(5)))
struct PinnedActorTests {
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
      client.disconnectFromHost()
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

  @Test("Calls from the pool, from the main thread and from another loop run on the actor's thread")
  func calledFromElsewhere() async throws {
    try await onLoop { base in
      let loopThread = OtherThread.currentID
      let actor = Pinned(to: base)
      let callers: [@Sendable () async throws -> [String]] = [
        { await Task.detached { [OtherThread.currentID, await actor.thread()] }.value },
        { @MainActor in [OtherThread.currentID, await actor.thread()] },
        { try await EventBase.withThread { _ in [OtherThread.currentID, await actor.thread()] } },
      ]
      for call in callers {
        for _ in 0..<20 {
          let threads = try await call()
          #expect(threads[0] != loopThread && threads[1] == loopThread)
        }
      }
    }
  }

  @Test("Callers from many threads at once are in the actor one at a time")
  func exclusive() async throws {
    try await onLoop { base in
      let (actor, loopThread) = (Pinned(to: base), OtherThread.currentID)
      await withTaskGroup { group in
        for _ in 0..<8 {
          group.addTask(executorPreference: globalConcurrentExecutor) {
            #expect(OtherThread.currentID != loopThread)
            for _ in 0..<500 { await actor.increment() }
          }
        }
      }
      #expect(await actor.count == 4000)
    }
  }

  @Test("Sockets' handlers and jobs are in the actor's isolation")
  func callbacks() async throws {
    try await onLoop { base in
      let actor = Pinned(to: base)
      base.execute { actor.assumeIsolated { $0.count += 1 } }
      let pair = try await Pair()
      pair.socket.readyRead.connect { [unowned socket = pair.socket] in
        let count = socket.readAll().count
        actor.assumeIsolated { $0.count += count }
      }
      pair.client.send("four")
      let (seen, isDone) = (LoopBound(pair.socket), Gate())
      seen.value.disconnected.connect {
        actor.assumeIsolated { $0.count += 10 }
        isDone.open()
      }
      pair.client.endWriting()
      await isDone.pass()
      #expect(await actor.count == 15)
    }
  }

  @Test("The executor knows its isolation: the loop's thread while it runs, no other")
  func isIsolating() async throws {
    let (base, executor) = try await onLoop { base in
      let executor = base.serialExecutor
      #expect(executor.isIsolatingCurrentContext() == true)
      #expect(Background { executor.isIsolatingCurrentContext() }.join() == false)
      #expect(await Task.detached { executor.isIsolatingCurrentContext() }.value == false)
      let otherLoop = try await EventBase.withThread { _ in executor.isIsolatingCurrentContext() }
      #expect(otherLoop == false)
      return (base, executor)
    }
    // Nothing runs it any more.
    #expect(executor.isIsolatingCurrentContext() == false)
    withExtendedLifetime(base) {}
  }

  @Test("Assuming the isolation on another thread stops the program")
  func assumedElsewhere() async {
    await #expect(processExitsWith: .failure) {
      _ = try? await EventBase.withThread { base in
        let actor = Pinned(to: base)
        OtherThread { actor.assumeIsolated { $0.count += 1 } }.join()
        exit(0)
      }
    }
  }
}

/// An actor whose thread is a loop's.
actor Pinned {
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

  func increment() {
    count += 1
  }

  func wait() async {
    try? await base.sleep(for: .zero)
  }

  func sleep(for duration: Duration) async throws {
    try await base.sleep(for: duration)
  }

  func readLine(_ socket: LoopBound<TCPSocket>) async throws {
    _ = try await socket.value.readLine()
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
