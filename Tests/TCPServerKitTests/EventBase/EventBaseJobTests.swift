// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Jobs of an event base", .blocking, .timeLimit(.minutes(5)))
struct EventBaseJobTests {
  @Test("Jobs run in the order in which a thread gave them")
  func order() throws {
    let loop = try Loop()
    let base = loop.base
    let order = Locked<[Int]>([])
    let thread = OtherThread {
      for number in 0..<1000 {
        base.execute { order.withLock { $0.append(number) } }
      }
    }
    #expect(loop.run { order.withLock { $0.count } == 1000 })
    thread.join()
    #expect(order.withLock { $0 } == Array(0..<1000))
  }

  @Test("Jobs keep their order while more come than there was room for")
  func growing() throws {
    let loop = try Loop()
    let base = loop.base
    let order = Locked<[Int]>([])
    base.execute {
      for number in 0..<200 {
        base.execute {
          order.withLock { $0.append(number) }
          // Ten for one: the queue grows while it is being run, wherever in its memory it begins by then.
          for further in 0..<10 {
            base.execute { order.withLock { $0.append(200 + number * 10 + further) } }
          }
        }
      }
    }
    #expect(loop.run { order.withLock { $0.count } == 2200 })
    #expect(order.withLock { $0 } == Array(0..<2200))
  }

  @Test("A job given before the loop runs is run by it, on its thread")
  func beforeRun() throws {
    let base = try EventBase()
    let ran = Flag()
    base.execute {
      ran.set(EventBase.current === base)
      base.stop()
    }
    #expect(!ran.isSet)
    base.run()
    #expect(ran.isSet)
  }

  @Test("8 threads give 10,000 jobs each, and every one runs once, in its thread's order")
  func manyThreads() throws {
    let loop = try Loop()
    let base = loop.base
    let next = Locked<[Int]>(Array(repeating: 0, count: 8))
    let misplaced = Counter()
    let threads = (0..<8).map { thread in
      OtherThread {
        for number in 0..<10_000 {
          base.execute {
            next.withLock { next in
              if next[thread] != number { misplaced.increment() }
              next[thread] += 1
            }
          }
        }
      }
    }
    #expect(loop.run { next.withLock { $0.reduce(0, +) } == 80_000 })
    threads.forEach { $0.join() }
    loop.settle(turns: 3)
    #expect(next.withLock { $0 } == Array(repeating: 10_000, count: 8))
    #expect(misplaced.value == 0)
  }

  @Test("Jobs that add jobs for ever do not keep sockets from their turn", arguments: [1, 100])
  func noStarvation(chains: Int) throws {
    let loop = try Loop()
    let base = loop.base
    let (socket, peer) = try connectedPair(base)
    var received: [UInt8] = []
    socket.readyRead.connect { received += socket.readAll() }
    final class Chain: Sendable {
      let isOver = Flag()
      let jobs = Counter()

      func go(_ base: EventBase) {
        guard !isOver.isSet else { return }
        jobs.increment()
        base.execute { self.go(base) }
      }
    }
    let chain = Chain()
    for _ in 0..<chains {
      chain.go(base)
    }
    for round in 1...10 {
      peer.send("ping")
      #expect(loop.run { received.count == round * 4 })
    }
    #expect(chain.jobs.value > chains)
    chain.isOver.set()
    loop.settle()
  }

  @Test("A burst of more jobs than a turn runs lets sockets have their turn in between")
  func burst() throws {
    let loop = try Loop()
    let base = loop.base
    let (socket, peer) = try connectedPair(base)
    let jobs = Counter()
    var jobsBefore = 0
    socket.readyRead.connect { jobsBefore = jobs.value }
    peer.send("x")
    #expect(Descriptors.waitReadable(socket.socketDescriptor))
    for _ in 0..<100_000 {
      base.execute { jobs.increment() }
    }
    #expect(loop.run { jobs.value == 100_000 })
    #expect(jobsBefore > 0 && jobsBefore < 100_000)
  }

  @Test("Jobs given while the loop is running for something else do not wait for its timeout")
  func promptly() throws {
    let base = try EventBase()
    let ran = Flag()
    let thread = OtherThread { base.execute { ran.set() } }
    let begin = ContinuousClock.now
    while !ran.isSet {
      base.runOnce(timeout: .seconds(60))
    }
    thread.join()
    #expect(ContinuousClock.now - begin < .seconds(30))
  }
}
