// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import BitTorrent

@Suite("Choker")
struct ChokerTests {
  @Test("Those who give most are served, and one more")
  func fastest() {
    var choker = Choker()
    let candidates = (0..<10).map { Choker.Candidate(peer: $0, speed: $0 * 100) }
    for _ in 0..<20 {
      let chosen = choker.choose(candidates.shuffled())
      #expect(chosen.isSuperset(of: 6..<10))
      #expect(chosen.count == 5)
    }
  }

  @Test("The one more stays for three rounds, and in time it is everybody's turn")
  func optimistic() {
    var choker = Choker()
    let candidates = (0..<7).map { Choker.Candidate(peer: $0, speed: $0 * 100) }
    var seen: Set<PeerNumber> = []
    for _ in 0..<100 {
      let rounds = (0..<3).map { _ in choker.choose(candidates).subtracting(3..<7) }
      #expect(Set(rounds).count == 1)
      seen.formUnion(rounds[0])
    }
    #expect(seen == [0, 1, 2])
  }

  @Test("A few peers are all served")
  func few() {
    var choker = Choker()
    #expect(choker.choose([]) == [])
    #expect(choker.choose([.init(peer: 7, speed: 0)]) == [7])
    #expect(choker.choose((0..<5).map { .init(peer: $0, speed: 0) }) == [0, 1, 2, 3, 4])
  }
}

@Suite("Rates")
struct RateTests {
  @Test("A budget grows with time, for a second at most")
  func refill() {
    var budget = RateBudget(limit: 1000)
    #expect(budget.available == 0)
    budget.refill(after: .milliseconds(50))
    #expect(budget.available == 50)
    budget.refill(after: .seconds(10))
    #expect(budget.available == 1000)
  }

  @Test("What was taken beforehand is missing afterwards")
  func debt() {
    var budget = RateBudget(limit: 1000)
    budget.refill(after: .milliseconds(1))
    budget.take(2001)
    budget.refill(after: .seconds(1))
    #expect(budget.available == 0)
    budget.refill(after: .seconds(1))
    budget.refill(after: .milliseconds(500))
    #expect(budget.available == 500)
  }

  @Test("Many small steps add up")
  func smallSteps() {
    var budget = RateBudget(limit: 100)
    for _ in 0..<50 {
      budget.refill(after: .milliseconds(1))
    }
    #expect((4...5).contains(budget.available))
  }

  @Test("Without a limit there is always enough, and the largest limit is one")
  func unlimited() {
    var budget = RateBudget(limit: nil)
    budget.take(.max)
    #expect(budget.available == .max)
    #expect(budget.bufferSize(seconds: 4) == 256 << 10)
    var largest = RateBudget(limit: .max)
    largest.refill(after: .seconds(1))
    #expect(largest.available > 1 << 30)
    #expect(largest.bufferSize(seconds: 4) == 256 << 10)
    #expect(RateBudget(limit: 1).bufferSize(seconds: 4) == 16 << 10)
    #expect(RateBudget(limit: 10 << 10).bufferSize(seconds: 4) == 40 << 10)
  }

  @Test("Speed is that of the last sixteen seconds")
  func speed() {
    let start = ContinuousClock.now
    var meter = SpeedMeter(now: start)
    #expect(meter.speed(now: start) == 0)
    meter.add(10_000, now: start + .seconds(1))
    #expect(meter.speed(now: start + .seconds(1)) == 10_000)
    #expect(meter.speed(now: start + .seconds(10)) == 1000)
    meter.add(500, now: start + .seconds(100))
    #expect((31...35).contains(meter.speed(now: start + .seconds(101))))
    #expect(meter.speed(now: start + .seconds(1_000_000)) == 0)
    #expect(meter.total == 10_500)
  }
}

@Suite("Address book")
struct AddressBookTests {
  private let now = ContinuousClock.now
  private let endpoint = Endpoint(host: "192.0.2.1", port: 6881)
  private var book = AddressBook()

  init() {
    book.add([endpoint], now: now)
  }

  @Test("An address is used by one connection at a time")
  mutating func once() {
    book.add([endpoint], now: now)
    #expect(book.next(now: now, connected: []) == endpoint)
    #expect(book.next(now: now, connected: []) == nil)
  }

  @Test("An absent peer is tried again after one second, two, four, up to thirty")
  mutating func retries() {
    var now = now
    for pause in [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30, 30] {
      #expect(book.next(now: now, connected: []) == endpoint)
      book.ended(endpoint, .failed, now: now)
      now += .seconds(pause) - .milliseconds(1)
      #expect(book.next(now: now, connected: []) == nil)
      now += .milliseconds(1)
    }
  }

  @Test("A peer that has connected to us needs no connection the other way")
  mutating func connected() {
    _ = book.next(now: now, connected: [])
    book.identify(endpoint, [1, 2])
    book.ended(endpoint, .worked, now: now)
    let later = now + .seconds(30)
    #expect(book.next(now: later, connected: [[1, 2]]) == nil)
    #expect(book.next(now: later, connected: []) == endpoint)
    book.ended(endpoint, .bothComplete, now: later)
    #expect(book.next(now: later + .seconds(599), connected: []) == nil)
  }

  @Test("A banned peer is not tried again, and the list does not grow without end")
  mutating func limits() {
    book.ban(endpoint, [1])
    #expect(book.next(now: now + .seconds(10_000), connected: []) == nil)
    #expect(book.isBanned([1]))
    #expect(!book.isBanned([2]))
    book.add((1...5000).map { Endpoint(host: "h", port: $0) }, now: now)
    var count = 0
    while book.next(now: now, connected: []) != nil { count += 1 }
    #expect(count == 999)
  }
}

@Suite("Announcer")
struct AnnouncerTests {
  private let now = ContinuousClock.now
  private var announcer = Announcer(trackers: ["a", "b"])

  private func reply(_ text: String) throws -> TrackerReply {
    try TrackerReply(Array(text.utf8))
  }

  @Test("Announces the start, then each time the tracker wants it")
  mutating func interval() throws {
    #expect(announcer.next(now: now) == nil)
    announcer.add(.started, now: now)
    let first = announcer.next(now: now)
    #expect(first?.tracker == "a")
    #expect(first?.event == .started)
    #expect(announcer.next(now: now + .seconds(9999)) == nil)
    announcer.succeeded(try reply("d8:intervali60e10:tracker id1:xe"), now: now)
    #expect(announcer.trackerID == [UInt8(ascii: "x")])
    #expect(announcer.next(now: now + .seconds(59)) == nil)
    let second = announcer.next(now: now + .seconds(60))
    #expect(second?.tracker == "a")
    #expect(second?.event == nil)
  }

  @Test("After a failure the next tracker hears the same, after five seconds, ten, and so on")
  mutating func failures() {
    announcer.add(.started, now: now)
    var now = now
    for (tracker, pause) in zip(
      ["a", "b", "a", "b", "a", "b", "a", "b"],
      [5, 10, 20, 40, 80, 160, 300, 300]
    ) {
      let next = announcer.next(now: now)
      #expect(next?.tracker == tracker)
      #expect(next?.event == .started)
      announcer.failed(now: now)
      #expect(announcer.next(now: now + .seconds(pause) - .milliseconds(1)) == nil)
      now += .seconds(pause)
    }
  }

  @Test("Completion and end are announced at once, one after the other")
  mutating func events() throws {
    announcer.add(.started, now: now)
    _ = announcer.next(now: now)
    announcer.add(.completed, now: now)
    announcer.succeeded(try reply("de"), now: now)
    #expect(announcer.next(now: now)?.event == .completed)
    announcer.add(.stopped, now: now)
    #expect(!announcer.isIdle)
    announcer.succeeded(try reply("de"), now: now)
    #expect(announcer.next(now: now)?.event == .stopped)
    announcer.succeeded(try reply("de"), now: now)
    #expect(announcer.isIdle)
  }

  @Test("An announcement of the end that fails is not repeated")
  mutating func farewellFails() throws {
    announcer.add(.started, now: now)
    _ = announcer.next(now: now)
    announcer.succeeded(try reply("de"), now: now)
    announcer.add(.stopped, now: now)
    _ = announcer.next(now: now)
    #expect(!announcer.isIdle)
    announcer.failed(now: now)
    #expect(announcer.isIdle)
  }

  @Test("A tracker without our start gets no announcement of the end")
  mutating func unknown() {
    announcer.add(.started, now: now)
    announcer.add(.stopped, now: now)
    #expect(announcer.isIdle)
    announcer = Announcer(trackers: [])
    announcer.add(.started, now: now)
    #expect(announcer.isIdle)
    #expect(announcer.next(now: now) == nil)
  }
}
