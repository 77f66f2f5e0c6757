// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

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

  @Test("With a delay the first signal announces, the second skips the delay, and the third ends the time")
  func delayed() throws {
    let report = try EventBase().run {
      let shutdown = GracefulShutdown()
      shutdown.beginOnSignals(SIGUSR1, SIGUSR2, delay: .seconds(1000), timeout: .seconds(1000))
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      let loop = try #require(server.eventBase)
      let report = try await server.serve(shutdown: shutdown) { _ in
        kill(getpid(), SIGUSR1)
        await shutdown.waitUntilAnnounced()
        await turns()
        #expect(!shutdown.hasBegun && server.isListening)
        kill(getpid(), SIGUSR2)
        await shutdown.waitUntilBegun()
        await turns()
        #expect(!Task.isCancelled && !server.isListening)
        kill(getpid(), SIGUSR1)
        try await loop.sleep(for: .seconds(1000))
      }
      #expect(client.nextInput() != .nothing)
      return report.numbers
    }
    #expect(report == [1, 0, 0, 1])
  }

  @Test("A signal after a delay that has ended by itself ends the time")
  func delayOver() throws {
    let report = try EventBase().run {
      let shutdown = GracefulShutdown()
      shutdown.beginOnSignals(SIGUSR1, delay: .milliseconds(1), timeout: .seconds(1000))
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      let loop = try #require(server.eventBase)
      let report = try await server.serve(shutdown: shutdown) { _ in
        kill(getpid(), SIGUSR1)
        await shutdown.waitUntilBegun()
        kill(getpid(), SIGUSR1)
        try await loop.sleep(for: .seconds(1000))
      }
      withExtendedLifetime(client) {}
      return report.numbers
    }
    #expect(report == [1, 0, 0, 1])
  }

  @Test("One signal may announce with a delay, and another skip that")
  func differentSignals() throws {
    let loop = try Loop()
    let shutdown = GracefulShutdown()
    #expect(shutdown.beginOnSignals(SIGUSR1, delay: .seconds(1000), eventBase: loop.base))
    #expect(shutdown.beginOnSignals(SIGUSR2, eventBase: loop.base))
    kill(getpid(), SIGUSR1)
    #expect(loop.run { shutdown.isAnnounced })
    loop.settle()
    #expect(!shutdown.hasBegun)
    kill(getpid(), SIGUSR2)
    #expect(loop.run { shutdown.hasBegun })
  }

  @Test("A signal that two loops hear for one shutdown skips no delay and ends no time")
  func twoLoopsHear() throws {
    let loops = [try Loop(), try Loop()]
    let shutdown = GracefulShutdown()
    for loop in loops {
      #expect(
        shutdown.beginOnSignals(SIGUSR1, delay: .seconds(1000), timeout: .seconds(1000), eventBase: loop.base)
      )
    }
    kill(getpid(), SIGUSR1)
    #expect(loops[0].run { shutdown.isAnnounced })
    loops[1].settle()
    #expect(!shutdown.hasBegun)
    kill(getpid(), SIGUSR1)
    #expect(loops[1].run { shutdown.hasBegun })
    loops[0].settle()
    #expect(try #require(shutdown.deadline) > .now + .seconds(500))
    kill(getpid(), SIGUSR1)
    #expect(loops[0].run { shutdown.deadline.map { $0 <= .now } ?? false })
  }

  @Test("A signal counts once for calls that have it in common, also by a third one")
  func overlappingCalls() throws {
    let loops = [try Loop(), try Loop()]
    let shutdown = GracefulShutdown()
    for signal in [SIGUSR1, SIGUSR2] {
      shutdown.beginOnSignals(signal, delay: .seconds(1000), eventBase: loops[0].base)
    }
    shutdown.beginOnSignals(SIGUSR2, SIGUSR1, delay: .seconds(1000), eventBase: loops[1].base)
    kill(getpid(), SIGUSR1)
    #expect(loops[0].run { shutdown.isAnnounced })
    loops[1].settle()
    #expect(!shutdown.hasBegun)
    kill(getpid(), SIGUSR2)
    #expect(loops[1].run { shutdown.hasBegun })
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
    // A signal of no other test, in which it is taken meanwhile.
    #expect(!base.stopOnSignals(SIGVTALRM, 4711))
    var action = sigaction()
    unsafe sigaction(SIGVTALRM, nil, &action)
    #expect(unsafe action.__sigaction_handler.sa_handler == nil)
  }

  @Test("After a delay that was skipped, the fourth signal ends a program that hangs")
  func fourth() async {
    await #expect(processExitsWith: .signal(SIGTERM)) {
      let loop = try Loop()
      let shutdown = GracefulShutdown()
      shutdown.beginOnSignals(SIGINT, SIGTERM, delay: .seconds(1000), eventBase: loop.base)
      kill(getpid(), SIGINT)
      guard loop.run(until: { shutdown.isAnnounced }) else { return }
      // Three that the loop, which does not turn, has not heard. To this thread, which may have blocked them: each is
      // handled before the next comes.
      var none = sigset_t()
      unsafe sigemptyset(&none)
      unsafe pthread_sigmask(SIG_SETMASK, &none, nil)
      for signal in [SIGINT, SIGINT, SIGTERM] { pthread_kill(pthread_self(), signal) }
    }
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
