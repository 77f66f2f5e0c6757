// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("EventBase.run(_:)", .timeLimit(.minutes(5)))
struct RunningTests {
  private struct Refused: Error, Equatable {
    var number: Int
  }

  @Test("Returns what its body returns, and throws what it throws, again and again")
  func outcome() throws {
    let base = try EventBase()
    for number in 1...3 {
      #expect(
        try base.run {
          try await base.sleep(for: .zero)
          return number
        } == number
      )
      #expect(throws: Refused(number: number)) {
        try base.run {
          await Task.yield()
          throw Refused(number: number)
        }
      }
    }
  }

  @Test("Inside, the event base is the current one, and all runs on the thread that called")
  func current() throws {
    let seen = Background { Result { try Self.lookAround() } }
    let (thread, inside) = try seen.join().get()
    #expect(inside == Array(repeating: thread, count: 4))
  }

  /// - Returns: the calling thread, and those on which parts of a body ran for which the base was current.
  private static func lookAround() throws -> (thread: String, inside: [String]) {
    let outer = try EventBase()
    let base = try EventBase()
    let before = EventBase.current
    let inside = try base.run {
      func here() -> String {
        EventBase.current === base ? OtherThread.currentID : "another event base"
      }
      var seen = [here()]
      try await base.sleep(for: .milliseconds(1))
      seen.append(here())
      // There and back again.
      _ = await Task.detached { OtherThread.currentID }.value
      seen.append(here())
      async let child = here()
      return seen + [await child]
    }
    #expect(EventBase.current === before)
    withExtendedLifetime(outer) {}
    return (OtherThread.currentID, inside)
  }

  @Test("stop() does not end it: the body does")
  func stop() throws {
    let base = try EventBase()
    base.stop()
    let rounds = try base.run {
      for _ in 0..<10 {
        base.stop()
        await Task.yield()
        OtherThread { base.stop() }.join()
        try await base.sleep(for: .zero)
      }
      return 10
    }
    #expect(rounds == 10)
    // What it used to stop itself is used up.
    let ran = Flag()
    base.execute {
      ran.set()
      base.stop()
    }
    base.run()
    #expect(ran.isSet)
  }

  @Test("stop() does not end withThread(_:): what the body waits for still comes")
  func stopWithThread() async throws {
    try await onLoop { base in
      let thread = OtherThread.currentID
      let pair = try await Pair()
      for _ in 0..<10 {
        base.stop()
        await Task.yield()
        OtherThread { base.stop() }.join()
        try await base.sleep(for: .zero)
        try #require(OtherThread.currentID == thread)
        pair.client.send("x")
        #expect(text(try await pair.socket.read(maxLength: 1)) == "x")
      }
    }
  }

  @Test("Cancelling withThread(_:) cancels its body, whose error comes out when the thread has ended")
  func withThreadCancelled() async throws {
    let (started, hasEnded) = (Gate(), Flag())
    let task = Task {
      try await EventBase.withThread { base in
        defer { hasEnded.set() }
        started.open()
        try await base.sleep(for: .seconds(100_000))
      }
    }
    await started.pass()
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(hasEnded.isSet)
  }

  @Test("A server and its client fit in one body")
  func serving() throws {
    let base = try EventBase()
    let report = try base.run {
      try await whileServing { socket in
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: { server in
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: server.serverPort)
        try await client.write("hello\n")
        #expect(text(try await client.readLine()) == "hello\n")
        client.finishWriting()
        #expect(try await client.readLine() == nil)
      }
    }
    #expect(report.numbers == [1, 0, 0, 0])
  }
}
