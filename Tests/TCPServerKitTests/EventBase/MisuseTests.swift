// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What a program does wrong with loops stops it with a text, in release builds, too.
@Suite("Misuse of event bases", .timeLimit(.minutes(5)))
struct MisuseTests {
  @Test("Running a loop in a handler of another one stops the program", arguments: 0..<3)
  func nested(call: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [call] in
      guard let outer = try? EventBase(), let inner = try? EventBase() else { exit(0) }
      outer.execute {
        switch call {
        case 0: inner.run()
        case 1: inner.runOnce(timeout: .zero)
        default: try? inner.run {}
        }
        exit(0)
      }
      outer.runBlocking()
    }
    let name = ["run()", "runOnce(timeout:)", "run(_:)"][call]
    let explanation = "EventBase.\(name) was called by a handler or task of another EventBase"
    #expect(text(result?.standardErrorContent)?.contains(explanation) == true)
  }

  @Test("So does running it with a body in a handler of its own")
  func nestedBody() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      guard let base = try? EventBase() else { exit(0) }
      base.execute {
        try? base.run {}
        exit(0)
      }
      base.runBlocking()
    }
    #expect(text(result?.standardErrorContent)?.contains("which would wait for itself") == true)
  }

  @Test("A server that was made before the event base stops the program that runs the loop")
  func serverBeforeLoop() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let server = TCPServer()
      guard let base = try? EventBase(), server.eventBase == nil else { exit(0) }
      server.newConnection.connect {}
      guard server.listen(address: .localHost) else { exit(0) }
      base.stop()
      base.runBlocking()
      exit(0)
    }
    let explanation = "Make the EventBase before the server, or pass it to the server."
    #expect(text(result?.standardErrorContent)?.contains(explanation) == true)
  }

  @Test("A server without a loop that only waits may listen while a loop runs")
  func waitingServer() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let base = try EventBase()
    base.stop()
    base.run()
    #expect(!server.waitForNewConnection())
  }

  @Test("EventBase.current is never another task's")
  func current() async throws {
    let strangers = Counter()
    // Each leaves its event base on a thread of the pool, where the others come as well.
    let bases = await withTaskGroup { group in
      for _ in 0..<200 {
        group.addTask {
          if EventBase.current != nil { strangers.increment() }
          let base = try? EventBase()
          #expect(EventBase.current === base)
          return base
        }
        group.addTask {
          await Task.yield()
          if EventBase.current != nil { strangers.increment() }
          return nil
        }
      }
      return await group.reduce(into: [EventBase]()) { bases, base in
        if let base { bases.append(base) }
      }
    }
    #expect(bases.count == 200)
    #expect(strangers.value == 0)
  }

  @Test("Within a loop, every task's is that loop, also where the task has made another")
  func currentInLoop() async throws {
    try await onLoop { base in
      let other = try EventBase()
      #expect(EventBase.current === base)
      await Task.yield()
      #expect(EventBase.current === base)
      withExtendedLifetime(other) {}
    }
  }
}
