// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("A connection policy", .timeLimit(.minutes(5)))
struct ConnectionPolicyTests {
  private static let echo: @Sendable (TCPSocket) async throws -> Void = { socket in
    while let line = try await socket.readLine() { try await socket.write(line) }
  }

  private static func answer(_ socket: TCPSocket) async throws {
    while try await socket.waitForMessage() {
      guard let line = try await socket.readLine() else { return }
      try await socket.write(line)
    }
  }

  /// Sends a byte now and then until the server ends the connection.
  private static func trickle(_ client: PlainClient) async throws -> PlainClient.Input {
    while true {
      switch client.input() {
      case .nothing: client.send("x")
      case .bytes: break
      case let last: return last
      }
      try await EventBase.current?.sleep(for: .milliseconds(50))
    }
  }

  @Test("A client that sends nothing ends in order at the deadline, and one that has sent a byte goes on")
  func firstByte() async throws {
    let limit = Duration.milliseconds(500)
    try await whileServing(by: ConnectionPolicy(firstByte: limit), handler: Self.echo) { bound, ends in
      let begun = ContinuousClock.now
      let silent = try #require(PlainClient(to: bound.value))
      let started = try #require(PlainClient(to: bound.value))
      started.send("h")
      try await until { silent.input() == .end }
      try await until { ends.value.map(\.error) == [.firstByteTimeout] }
      #expect(.now - begun >= limit)
      started.send("ello\n")
      try await until { started.input() == .bytes(Array("hello\n".utf8)) }
      let now = bound.value.statistics
      #expect(now.firstByteTimeouts == 1 && now.idleTimeouts == 0 && now.undelivered == 0 && now.live == 1)
    }
  }

  @Test("A greeting is no byte of the client, and an end without a byte is none either")
  func firstByteAfterGreeting() async throws {
    try await whileServing(by: ConnectionPolicy(firstByte: .milliseconds(500))) { socket in
      try await socket.write("hello\n")
      // It goes on beyond the end, as for a client that has ended its side.
      try await EventBase.current?.sleep(for: .milliseconds(300))
      while true {
        if try await socket.readLine() == nil { try await EventBase.current?.sleep(for: .milliseconds(50)) }
      }
    } _: { bound, ends in
      let greeted = try #require(PlainClient(to: bound.value))
      let ended = try #require(PlainClient(to: bound.value))
      ended.endWriting()
      try await until { ends.value.count == 2 }
      #expect(ends.value.allSatisfy { $0.error == .firstByteTimeout })
      #expect(bound.value.statistics.firstByteTimeouts == 2)
      withExtendedLifetime((greeted, ended)) {}
    }
  }

  @Test("A connection on which nothing moves ends, one that is used goes on")
  func idle() async throws {
    // Again where this thread was stopped for so long that the one that is used was idle, too.
    let wasStopped = Flag()
    repeat {
      wasStopped.set(false)
      try await Self.endsIdle(after: .seconds(4), wasStopped)
    } while wasStopped.isSet
  }

  private static func endsIdle(after limit: Duration, _ wasStopped: Flag) async throws {
    try await whileServing(by: ConnectionPolicy(idle: limit), handler: Self.echo) { bound, ends in
      let (silent, busy) = (
        try #require(PlainClient(to: bound.value)), try #require(PlainClient(to: bound.value))
      )
      let start = ContinuousClock.now
      silent.send("hello\n")
      try await until { silent.input() == .bytes(Array("hello\n".utf8)) }
      var (input, last) = (silent.input(), start)
      while input != .end {
        busy.send("ping\n")
        try await until { busy.input() == .bytes(Array("ping\n".utf8)) || ends.value.count == 2 }
        if ContinuousClock.now - last >= limit / 2 { wasStopped.set() }
        last = .now
        input = silent.input()
      }
      #expect(.now - start >= limit)
      if wasStopped.isSet { return }
      try await until { ends.value.map(\.error) == [.idleTimeout] }
      let now = bound.value.statistics
      #expect(now.idleTimeouts == 1 && now.live == 1 && now.undelivered == 0)
    }
  }

  @Test("So does one whose client takes nothing, by a reset", arguments: [false, true])
  func takesNothing(isHandlerDone: Bool) async throws {
    try await whileServing(by: ConnectionPolicy(idle: .milliseconds(500))) { socket in
      if isHandlerDone {
        socket.hold(32 << 20)
        // It is closing then; its own deadline is later.
        socket.deliveryTimeout = .seconds(600)
      } else {
        try await socket.write([UInt8](repeating: 7, count: 32 << 20))
      }
    } _: { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      try await until { bound.value.statistics.idleTimeouts == 1 && ends.value.count == 1 }
      #expect(ends.value.map(\.error) == [isHandlerDone ? nil : .idleTimeout])
      try await until { bound.value.statistics.live == 0 }
      #expect(bound.value.statistics.undelivered == 1)
      #expect(client.readToEnd().errnum == ECONNRESET)
    }
  }

  @Test("A handler that waits for something else is cut, too, by a reset")
  func handlerElsewhere() async throws {
    let gate = Gate()
    try await whileServing(by: ConnectionPolicy(idle: .milliseconds(500))) { socket in
      try await socket.write("half")
      await gate.pass()
      try await socket.write("an answer")
    } _: { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      try await until { client.input() == .bytes(Array("half".utf8)) }
      try await until { client.input() == .failed(ECONNRESET) }
      gate.open()
      try await until { ends.value.map(\.error) == [.idleTimeout] }
    }
  }

  @Test("Handlers of signals get the error, and disconnected")
  func signals() async throws {
    try await onLoop { _ in
      let server = try listening()
      server.connectionPolicy = ConnectionPolicy(firstByte: .milliseconds(500))
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      let recorder = Recorder(socket)
      try await until { recorder.isDisconnected }
      #expect(recorder.events == [.errorOccurred(.firstByteTimeout, .connected), .disconnected])
      #expect(socket.errorString == "The peer sent no first byte in time")
      try await until { client.input() == .end }
    }
  }

  // MARK: - Age

  @Test(
    "At its age a connection between two messages ends, and one at work has its grace",
    arguments: [true, false]
  )
  func age(callsWaitForMessage: Bool) async throws {
    let policy = ConnectionPolicy(maximumAge: .seconds(1), grace: .seconds(1))
    try await whileServing(by: policy) { socket in
      if callsWaitForMessage { try await Self.answer(socket) } else { try await Self.echo(socket) }
    } _: { bound, ends in
      // Two have the grace to end in order, within which this thread may be stopped: that goes by a clock that is
      // slower than the kernel's, which their silence goes by.
      fault_stop_clock()
      defer { fault_reset_clock() }
      let between = try #require(PlainClient(to: bound.value))
      let within = try #require(PlainClient(to: bound.value))
      let silent = try #require(PlainClient(to: bound.value))
      between.send("message\n")
      within.send("half a ")
      try await until { between.input() == .bytes(Array("message\n".utf8)) }
      try await until { bound.value.statistics.delivered == 3 }
      fault_advance_clock(900)
      await turns()
      #expect(ends.value.isEmpty && bound.value.statistics.reachedMaximumAge == 0)
      fault_advance_clock(400)
      for client in [between, silent] {
        try await until {
          usleep(10_000)
          fault_advance_clock(4)
          return client.input() == .end
        }
      }
      for client in [between, silent] { client.end() }
      try await until { bound.value.statistics.live == 1 }
      #expect(ends.value.count == 2 && ends.value.allSatisfy { $0.error == nil })
      if callsWaitForMessage { fault_advance_clock(800) }
      await turns()
      #expect(bound.value.statistics.cutForAge == 0)
      fault_advance_clock(1200)
      try await until { within.input() == .failed(ECONNRESET) }
      try await until { ends.value.count == 3 }
      #expect(ends.value.last?.error == .ageLimit)
      #expect(try #require(ends.value.last).after >= .milliseconds(1900))
      let now = bound.value.statistics
      #expect(now.reachedMaximumAge == 3 && now.cutForAge == 1 && now.live == 0)
    }
  }

  @Test("A handler sees it, and its signal, and may end with its next answer")
  func ageSeen() async throws {
    let policy = ConnectionPolicy(maximumAge: .milliseconds(500), ageJitter: 0, grace: .seconds(600))
    let signals = Counter()
    try await whileServing(by: policy) { socket in
      socket.maximumAgeReached.connect { signals.increment() }
      #expect(!socket.isPastMaximumAge)
      while !socket.isPastMaximumAge { await Task.yield() }
      guard let line = try await socket.readLine() else { return }
      try await socket.write(line)
      #expect(try await !socket.waitForMessage())
    } _: { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      client.send("last\n")
      try await until { client.input() == .bytes(Array("last\n".utf8)) }
      try await until { client.input() == .end }
      try await until { ends.value.map(\.error) == [nil] }
      #expect(signals.value == 1)
      #expect(bound.value.statistics.reachedMaximumAge == 1 && bound.value.statistics.cutForAge == 0)
    }
  }

  @Test("Connections that began together end apart, none of them late")
  func jitter() async throws {
    let policy = ConnectionPolicy(maximumAge: .seconds(3), ageJitter: 1)
    try await whileServing(by: policy, handler: { try await Self.answer($0) }) { bound, ends in
      // Were this thread stopped, all would end together.
      fault_stop_clock()
      defer { fault_reset_clock() }
      let clients = try (0..<40).map { _ in try #require(PlainClient(to: bound.value)) }
      try await until { bound.value.statistics.delivered == clients.count }
      for _ in 0..<100 where ends.value.count < clients.count {
        fault_advance_clock(50)
        await turns()
      }
      try #require(ends.value.count == clients.count)
      let times = ends.value.map(\.after)
      #expect(try #require(times.max()) - #require(times.min()) > .milliseconds(500))
    }
  }

  // MARK: - Rate

  @Test("A client that sends a byte now and then ends", arguments: [true, false])
  func slowSender(callsWaitForMessage: Bool) async throws {
    // A limit for the first byte does not put that off.
    let policy = ConnectionPolicy(firstByte: .seconds(600), minimumRate: 1000, rateWindow: .seconds(1))
    try await whileServing(by: policy) { socket in
      if callsWaitForMessage { _ = try await socket.waitForMessage() }
      _ = try await socket.readLine()
    } _: { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      #expect(try await Self.trickle(client) == .failed(ECONNRESET))
      try await until { ends.value.map(\.error) == [.tooSlow] }
      #expect(bound.value.statistics.tooSlow == 1)
    }
  }

  @Test("So does one whose connection has rested for several windows")
  func slowAfterRest() async throws {
    let policy = ConnectionPolicy(minimumRate: 1000, rateWindow: .seconds(1))
    try await whileServing(by: policy, handler: Self.echo) { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      client.send("hello\n")
      try await until { client.input() == .bytes(Array("hello\n".utf8)) }
      try await EventBase.current?.sleep(for: .seconds(3.5))
      #expect(ends.value.isEmpty)
      #expect(try await Self.trickle(client) == .failed(ECONNRESET))
      try await until { ends.value.map(\.error) == [.tooSlow] }
    }
  }

  @Test(
    "So does one that takes little of what was written, also when the connection is closing",
    arguments: [true, false]
  )
  func slowReader(isClosing: Bool) async throws {
    let policy = ConnectionPolicy(minimumRate: 1 << 20, rateWindow: .seconds(1))
    try await whileServing(by: policy) { socket in
      if isClosing {
        socket.hold(32 << 20)
      } else {
        try await socket.write([UInt8](repeating: 7, count: 32 << 20))
      }
    } _: { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      while bound.value.statistics.tooSlow == 0 {
        _ = client.input(atMost: 100)
        try await EventBase.current?.sleep(for: .milliseconds(20))
      }
      try await until { ends.value.count == 1 }
      #expect(ends.value.map(\.error) == [isClosing ? nil : .tooSlow])
      try await until { bound.value.statistics.live == 0 }
    }
  }

  @Test("And one that has its answer, but goes on sending a byte now and then instead of ending")
  func neverEnds() async throws {
    let policy = ConnectionPolicy(minimumRate: 1000, rateWindow: .seconds(1))
    try await whileServing(by: policy) { socket in
      try await socket.write("bye\n")
    } _: { bound, ends in
      let client = try #require(PlainClient(to: bound.value))
      try await until { client.input() == .bytes(Array("bye\n".utf8)) }
      while bound.value.statistics.live > 0 {
        client.send("x")
        try await EventBase.current?.sleep(for: .milliseconds(50))
      }
      #expect(bound.value.statistics.tooSlow == 1 && bound.value.statistics.undelivered == 0)
      #expect(ends.value.map(\.error) == [nil])
    }
  }

  @Test(
    "Clients between two messages, and those that get their answers, are not slow",
    arguments: [true, false]
  )
  func notSlow(callsWaitForMessage: Bool) async throws {
    let policy = ConnectionPolicy(minimumRate: 1000, rateWindow: .seconds(1))
    try await whileServing(by: policy) { socket in
      if callsWaitForMessage { try await Self.answer(socket) } else { try await Self.echo(socket) }
    } _: { bound, ends in
      let quiet = try #require(PlainClient(to: bound.value))
      let calm = try #require(PlainClient(to: bound.value))
      let slow = try #require(PlainClient(to: bound.value))
      quiet.send("hello\n")
      try await until { quiet.input() == .bytes(Array("hello\n".utf8)) }
      var round = 0
      // The slow one is judged while its last byte is young, which it is not where this thread is stopped.
      while ends.value.isEmpty {
        calm.send("\(round)\n")
        try await until { calm.input() == .bytes(Array("\(round)\n".utf8)) }
        slow.send("x")
        round += 1
        try await EventBase.current?.sleep(for: .milliseconds(100))
      }
      try await until { ends.value.map(\.error) == [.tooSlow] }
      #expect(bound.value.statistics.live == 2)
    }
  }

  // MARK: - Settings

  @Test("What was set is what is read; what is out of range is taken as the nearest that is not")
  func settings() async throws {
    try await onLoop { _ in
      let server = try listening()
      #expect(server.connectionPolicy == nil)
      let odd = ConnectionPolicy(
        firstByte: .seconds(-1),
        idle: .seconds(1 << 62),
        maximumAge: .seconds(1 << 62),
        ageJitter: .nan,
        grace: .seconds(-1),
        minimumRate: .min,
        rateWindow: .seconds(-1)
      )
      server.connectionPolicy = odd
      #expect(server.connectionPolicy?.idle == odd.idle && server.connectionPolicy?.minimumRate == .min)
      let silent = try #require(PlainClient(to: server))
      let socket = try #require(await server.accept())
      await #expect(throws: SocketError.firstByteTimeout) { try await socket.readLine() }
      try await until { silent.input() == .end }
      server.connectionPolicy = ConnectionPolicy(maximumAge: .zero, ageJitter: .infinity, minimumRate: .max)
      server.connectionPolicy?.grace = .zero
      let aged = try #require(PlainClient(to: server))
      let other = try #require(await server.accept())
      aged.send("half")
      // Ending between messages is what a task could do; this one is none of the server's.
      await #expect(throws: SocketError.ageLimit) { try await other.readLine() }
    }
  }

  @Test("A change holds for the connections that have a policy, and for those that begin later")
  func changes() async throws {
    try await onLoop { _ in
      let server = try listening()
      func accept() async throws -> (PlainClient, TCPSocket) {
        let client = try #require(PlainClient(to: server))
        return (client, try #require(await server.accept()))
      }
      let (unlimited, first) = try await accept()
      server.connectionPolicy = ConnectionPolicy(idle: .seconds(600), maximumAge: .seconds(600))
      let (limited, second) = try await accept()
      server.connectionPolicy = ConnectionPolicy(idle: .milliseconds(500))
      await #expect(throws: SocketError.idleTimeout) { try await second.readLine() }
      server.connectionPolicy = ConnectionPolicy(idle: .seconds(600))
      let (late, third) = try await accept()
      server.connectionPolicy = nil
      let (last, fourth) = try await accept()
      server.connectionPolicy = ConnectionPolicy(idle: .milliseconds(500))
      let (again, fifth) = try await accept()
      await #expect(throws: SocketError.idleTimeout) { try await fifth.readLine() }
      #expect(server.statistics.idleTimeouts == 2)
      for (client, socket) in [(unlimited, first), (late, third), (last, fourth)] {
        client.send("still here\n")
        #expect(text(try await socket.readLine()) == "still here\n")
      }
      withExtendedLifetime((limited, again)) {}
    }
  }
}
