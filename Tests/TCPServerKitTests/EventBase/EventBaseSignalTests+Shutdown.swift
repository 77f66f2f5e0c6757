// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

extension EventBaseSignalTests {
  @Test("A signal begins a shutdown in EventBase.run(_:), and serve ends in order")
  func beginsShutdown() throws {
    let report = try EventBase().run {
      let shutdown = GracefulShutdown()
      #expect(shutdown.beginOnSignals(SIGUSR1, SIGUSR2))
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      let report = try await server.serve(shutdown: shutdown) { socket in
        kill(getpid(), SIGUSR2)
        await shutdown.waitUntilBegun()
        try await socket.write("done")
      }
      #expect(text(client.receive(exactly: 4)) == "done")
      return report.numbers
    }
    #expect(report == [1, 0, 1, 0])
  }

  @Test("The timeout counts from the signal; a second one ends the time", arguments: [false, true])
  func endsTime(bySignal: Bool) throws {
    let report = try EventBase().run {
      let shutdown = GracefulShutdown()
      shutdown.beginOnSignals(SIGUSR1, timeout: bySignal ? .seconds(1000) : .milliseconds(20))
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      let loop = try #require(server.eventBase)
      let report = try await server.serve(shutdown: shutdown) { _ in
        kill(getpid(), SIGUSR1)
        await shutdown.waitUntilBegun()
        if bySignal { kill(getpid(), SIGUSR1) }
        try await loop.sleep(for: .seconds(1000))
      }
      #expect(client.nextInput() != .nothing)
      return report.numbers
    }
    #expect(report == [1, 0, 0, 1])
  }

  @Test("A signal reaches servers on other loops, and those that finish on it")
  func otherLoops() async throws {
    let shutdown = GracefulShutdown()
    let base = try EventBase()
    #expect(shutdown.beginOnSignals(SIGUSR1, eventBase: base))
    let ready = Counter()
    async let served = onLoop { _ in
      let server = try listening()
      ready.increment()
      return try await server.serve(shutdown: shutdown) { _ in }.numbers
    }
    async let finished = onLoop { _ in
      let server = try listening()
      server.finish(on: shutdown)
      ready.increment()
      while try await server.accept() != nil {}
      return !server.isListening
    }
    let turned = Background {
      let loop = Loop(base: base)
      let came = loop.run { ready.value == 2 }
      kill(getpid(), SIGUSR1)
      return came && loop.run { shutdown.hasBegun }
    }
    #expect(try await served == [0, 0, 0, 0])
    #expect(try await finished)
    #expect(turned.join())
  }

  @Test("Without an event base no signal is taken")
  func withoutBase() {
    let shutdown = GracefulShutdown()
    #expect(!shutdown.beginOnSignals(SIGUSR1, eventBase: nil))
    #expect(!shutdown.hasBegun)
  }

  @Test("Of signals that are none, none is taken")
  func noSuchSignal() throws {
    let base = try EventBase()
    // A signal of no other test: libevent gives one back when the event base ends.
    #expect(!base.stopOnSignals(SIGURG, 4711))
    var action = sigaction()
    unsafe sigaction(SIGURG, nil, &action)
    #expect(unsafe action.__sigaction_handler.sa_handler == nil)
  }

  @Test("After the second signal the next does what it did before: it ends a program that hangs")
  func third() async {
    await #expect(processExitsWith: .signal(SIGTERM)) {
      try EventBase().runBlocking {
        let shutdown = GracefulShutdown()
        shutdown.beginOnSignals(SIGINT, SIGTERM)
        kill(getpid(), SIGINT)
        await shutdown.waitUntilBegun()
        kill(getpid(), SIGINT)
        let end = ContinuousClock.now + Loop.limit
        while ContinuousClock.now < end {
          for _ in 0..<100 { await Task.yield() }
          kill(getpid(), SIGTERM)
        }
      }
    }
  }
}
