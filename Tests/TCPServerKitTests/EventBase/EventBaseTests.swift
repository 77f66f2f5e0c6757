// SPDX-License-Identifier: Apache-2.0

import CLibevent
import Glibc
import TCPServerKit
import Testing

@Suite("EventBase", .blocking, .timeLimit(.minutes(5)))
struct EventBaseTests {
  // MARK: - current

  @Test("The first event base of a thread is its current one, for as long as it lives")
  func current() {
    let seen = Background {
      var seen: [Bool] = [EventBase.current == nil]
      var first = try? EventBase()
      seen.append(EventBase.current === first)
      let second = try? EventBase()
      seen.append(EventBase.current === first)
      first = nil
      seen.append(EventBase.current == nil)
      let third = try? EventBase()
      seen.append(EventBase.current === third)
      withExtendedLifetime(second) {}
      return seen
    }
    #expect(seen.join() == [true, true, true, true, true])
  }

  @Test("Running makes an event base the current one meanwhile, and other threads keep theirs")
  func currentWhileRunning() {
    let seen = Background {
      guard let first = try? EventBase(), let second = try? EventBase() else { return [false] }
      let seen = Locked<[Bool]>([])
      second.execute {
        let elsewhere = Background { EventBase.current == nil }.join()
        seen.withLock { $0 += [EventBase.current === second, elsewhere] }
        second.stop()
      }
      second.run()
      second.execute { seen.withLock { $0.append(EventBase.current === second) } }
      second.runOnce(timeout: .zero)
      return seen.withLock { $0 } + [EventBase.current === first]
    }
    #expect(seen.join() == [true, true, true, true])
  }

  // MARK: - run() and stop()

  @Test("stop() before run() makes it return at once, and only once")
  func stopBeforeRun() throws {
    let base = try EventBase()
    base.stop()
    base.run()
    let ran = Flag()
    base.execute {
      ran.set()
      base.stop()
    }
    base.run()
    #expect(ran.isSet)
  }

  @Test("stop() from another thread ends a loop that waits")
  func stopFromElsewhere() throws {
    let base = try EventBase()
    for _ in 0..<50 {
      let thread = OtherThread { base.stop() }
      base.run()
      thread.join()
    }
  }

  @Test("run() and runOnce() within a handler return at once")
  func nestedRun() throws {
    let loop = try Loop()
    let done = Flag()
    let base = loop.base
    base.execute {
      base.run()
      base.runOnce()
      base.runOnce(timeout: .seconds(9))
      done.set()
    }
    #expect(loop.run { done.isSet })
  }

  @Test("runOnce() waits its time, and no longer; zero only looks")
  func runOnceTimeout() throws {
    let base = try EventBase()
    let begin = ContinuousClock.now
    base.runOnce(timeout: .milliseconds(30))
    let waited = ContinuousClock.now - begin
    // libevent counts on a clock that ticks every 4 ms at worst.
    #expect(waited >= .milliseconds(25))
    #expect(waited < Loop.limit)
    base.runOnce(timeout: .zero)
    base.runOnce(timeout: .seconds(-1))
    #expect(ContinuousClock.now - begin < Loop.limit)
  }

  @Test("runOnce() without a timeout waits for an event")
  func runOnceWaits() throws {
    let base = try EventBase()
    let ran = Flag()
    let thread = OtherThread { base.execute { ran.set() } }
    while !ran.isSet {
      base.runOnce()
    }
    thread.join()
  }

  // MARK: - End

  @Test("Releasing the last reference aborts the sockets that wait on it, whatever they wait for")
  func releaseAborts() throws {
    var base: EventBase? = try EventBase()
    let (reading, readingPeer) = try connectedPair(base)
    let (writing, writingPeer) = try connectedPair(base, tight: true)
    let (lingering, lingeringPeer) = try connectedPair(base)
    let connecting = TCPSocket(eventBase: base)
    var ended: [String] = []
    reading.readyRead.connect {}
    reading.disconnected.connect { ended.append("reading") }
    writing.disconnected.connect { ended.append("writing") }
    writing.write(pattern(1 << 20))
    lingeringPeer.send("unread")
    #expect(Descriptors.waitReadable(lingering.socketDescriptor))
    lingering.disconnected.connect { ended.append("lingering") }
    lingering.disconnectFromHost()
    #expect(lingering.state == .closing)
    connecting.connectToHost("localhost", port: 1)
    base = nil
    #expect(ended.sorted() == ["lingering", "reading", "writing"])
    for socket in [reading, writing, lingering, connecting] {
      #expect(socket.state == .unconnected)
    }
    #expect(readingPeer.nextInput() == .failed(ECONNRESET))
    #expect(writingPeer.readToEnd().bytes.count < 1 << 20)
    #expect(lingeringPeer.nextInput() == .end)
  }

  @Test("A job that was never run is released with the event base")
  func releaseDropsJobs() throws {
    final class Captured: Sendable {}
    var base: EventBase? = try EventBase()
    var captured: Captured? = Captured()
    weak let watched = captured
    let ran = Background { [base, captured] in base?.execute { _ = captured } }
    ran.join()
    captured = nil
    #expect(watched != nil)
    base = nil
    withExtendedLifetime(ran) {}
  }

  @Test("So is one that holds a socket of the event base, and the socket with it")
  func releaseDropsJobsWithSockets() throws {
    var base: EventBase? = try EventBase()
    func post() throws -> PlainClient {
      let pair = try connectedPair(base)
      let socket = pair.socket
      base?.execute { socket.write("never") }
      return pair.peer
    }
    let peer = try post()
    #expect(peer.input() == .nothing)
    base = nil
    #expect(peer.nextInput() == .end)
  }

  // MARK: - A C program's event_base

  /// An event_base as a C program makes it.
  @safe final class PlainBase {
    let base: OpaquePointer

    init() throws {
      let config = unsafe event_config_new()
      defer { unsafe event_config_free(config) }
      unsafe base = try #require(unsafe event_base_new_with_config(config))
    }

    deinit {
      unsafe event_base_free(base)
    }

    /// Turns the loop as a C program does, until `condition` holds.
    func run(until condition: () -> Bool) -> Bool {
      let deadline = ContinuousClock.now + Loop.limit
      while !condition() {
        guard ContinuousClock.now < deadline else { return false }
        turn()
      }
      return true
    }

    func turn() {
      unsafe _ = event_base_loop(base, CInt(CLIBEVENT_LOOP_NONBLOCK))
    }
  }

  @Test("A server and its sockets live on an event_base that C code runs")
  func adopting() throws {
    let plain = try PlainBase()
    let base = unsafe try EventBase(adopting: plain.base)
    let server = TCPServer(eventBase: base)
    #expect(server.listen(address: .localHost))
    var echoed = 0
    var disconnected = false
    server.newConnection.connect { [unowned server] in
      guard let socket = server.nextPendingConnection() else { return }
      socket.readyRead.connect { socket.write(socket.readAll()) }
      socket.bytesWritten.connect { echoed += $0 }
      socket.disconnected.connect { disconnected = true }
    }
    let peer = try #require(PlainClient(to: server))
    peer.send("hello")
    #expect(plain.run { echoed == 5 })
    #expect(text(peer.receive(exactly: 5)) == "hello")
    peer.end()
    #expect(plain.run { disconnected })
    server.close()
  }

  @Test(
    "Jobs run on an event_base that C code runs, more than one batch of them too",
    arguments: [1, 10_000]
  )
  func adoptingJobs(count: Int) throws {
    let plain = try PlainBase()
    let base = unsafe try EventBase(adopting: plain.base)
    let ran = Counter()
    for _ in 0..<count {
      base.execute { ran.increment() }
    }
    #expect(plain.run { ran.value == count })
  }

  @Test("An actor of the loop misses nothing that comes on its way to waiting")
  func comesBeforeTheWait() throws {
    let plain = try PlainBase()
    let base = unsafe try EventBase(adopting: plain.base)
    let server = TCPServer(eventBase: base)
    #expect(server.listen(address: .localHost))
    let peer = try #require(PlainClient(to: server))
    #expect(plain.run { server.hasPendingConnections })
    let socket = LoopBound(try #require(server.nextPendingConnection()))
    let received = Counter()
    let counting = Counting(on: base)
    Task(executorPreference: base.taskExecutor) { try await counting.count(socket, in: received) }
    // The actor needs many steps to get from a read to its wait. Bytes come between them, and are seen by turns of
    // which it knows nothing.
    let count = 200
    for _ in 0..<count {
      base.runOnce(timeout: .zero)
      peer.send("x")
      plain.turn()
    }
    peer.end()
    #expect(Loop(base: base).run { received.value == count + 1 })
  }

  private actor Counting {
    private let executor: any SerialExecutor

    init(on base: EventBase) {
      executor = base.serialExecutor
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor {
      unsafe executor.asUnownedSerialExecutor()
    }

    /// Counts bytes, and the end as one more.
    func count(_ socket: LoopBound<TCPSocket>, in counter: Counter) async throws {
      while let bytes = try await socket.value.read(maxLength: 1) {
        for _ in bytes { counter.increment() }
      }
      counter.increment()
    }
  }

  @Test("Failed attempts are reported on an event_base that C code runs")
  func adoptingLater() throws {
    let plain = try PlainBase()
    let base = unsafe try EventBase(adopting: plain.base)
    let socket = TCPSocket(eventBase: base)
    let recorder = Recorder(socket)
    socket.connectToHost(.null, port: 1)
    #expect(recorder.events.isEmpty)
    #expect(plain.run { recorder.events.count == 1 })
    #expect(socket.state == .unconnected)
  }
}
