// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Whatever keeps the loop busy, the others get their turn. Counted in turns, never in time.
@Suite("Fairness of a loop", .timeLimit(.minutes(5)))
struct FairnessTests {
  private final class Storm {
    var isOver = false
    var rounds = 0
  }

  @Test("Tasks that yield without end delay no accept, read or answer", arguments: [1, 200])
  func tasks(count: Int) async throws {
    try await onLoop { _ in
      let storm = LoopBound(Storm())
      let storming = (0..<count).map { _ in
        start {
          while !storm.value.isOver && !Task.isCancelled {
            storm.value.rounds += 1
            await Task.yield()
          }
        }
      }
      defer { storm.value.isOver = true }
      try await whileServing { socket in
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: { server in
        var least = Int.max
        for _ in 0..<10 {
          let before = storm.value.rounds
          let client = try #require(PlainClient(to: server))
          for _ in 0..<10 {
            client.send("ping\n")
            try await until { client.input() == .bytes(Array("ping\n".utf8)) }
          }
          least = min(least, (storm.value.rounds - before) / count)
        }
        // 10 round trips and an accept, of a few turns each: of the one that the kernel held up least.
        #expect(least > 0 && least < 10 * 11, "\(least) turns a connection")
      }
      storm.value.isOver = true
      for task in storming { try await task.value }
    }
  }

  @Test("Clients that connect for ever keep no job waiting, nor those connected before")
  func connects() async throws {
    try await onLoop { base in
      let storm = LoopBound(Storm())
      let shared = LoopBound(try listening())
      let serving = start {
        try await shared.value.serve { socket in
          // The next one is there before this one is done with.
          storm.value.rounds += 1
          if !storm.value.isOver { PlainClient(to: shared.value)?.end() }
          _ = try await socket.readLine()
        }
      }
      defer {
        storm.value.isOver = true
        serving.cancel()
      }
      let first = try #require(PlainClient(to: shared.value))
      try await until { storm.value.rounds > 0 }
      for round in 0..<100 {
        let ran = Flag()
        let before = storm.value.rounds
        base.execute { ran.set() }
        try await until { ran.isSet }
        #expect(storm.value.rounds - before <= 64, "round \(round)")
        // The kernel may take longer for a connection than this round did.
        try await until { storm.value.rounds > before }
      }
      #expect(first.input() == .nothing)
      storm.value.isOver = true
    }
  }

  /// Twice what a task may move before the others get their turn.
  private static let much = 2 << 20

  @Test("A reader whose peer is always ahead lets the others have their turn", arguments: [true, false])
  func reader(lent: Bool) async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let storm = LoopBound(Storm())
      let chunk = String(repeating: "x", count: 65536)
      pair.client.send(chunk)
      let reading = start {
        while !storm.value.isOver, storm.value.rounds < 100 * Self.much {
          // There is more before this is done with, as from a peer on another processor.
          if lent {
            let count = try await pair.socket.read { span in
              pair.client.send(chunk)
              return span.byteCount
            }
            storm.value.rounds += count ?? 0
          } else {
            let count = try await pair.socket.read(maxLength: 65536)?.count ?? 0
            pair.client.send([UInt8](repeating: 7, count: count))
            storm.value.rounds += count
          }
        }
      }
      let ran = Flag()
      base.execute { ran.set() }
      await turns(1)
      try await until { ran.isSet }
      #expect(storm.value.rounds <= Self.much)
      storm.value.isOver = true
      try await reading.value
    }
  }

  @Test("So does a writer whose peer takes everything at once")
  func writer() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let storm = LoopBound(Storm())
      let chunk = [UInt8](repeating: 7, count: 65536)
      let writing = start {
        while !storm.value.isOver, storm.value.rounds < 100 * Self.much {
          storm.value.rounds += try await pair.socket.write(chunk)
          _ = pair.client.receivedCount()
        }
      }
      #expect(storm.value.rounds <= Self.much)
      storm.value.isOver = true
      try await writing.value
    }
  }
}
