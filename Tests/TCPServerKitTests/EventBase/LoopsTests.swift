// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Several loops and several servers", .timeLimit(.minutes(5)))
struct LoopsTests {
  /// The threads on which something ran.
  private final class Threads: Sendable {
    private let seen = Locked<Set<String>>([])

    func note() {
      let id = OtherThread.currentID
      seen.withLock { _ = $0.insert(id) }
    }

    var all: Set<String> {
      seen.withLock { $0 }
    }
  }

  /// What one loop gives the other.
  private struct Side: Sendable {
    let served = Threads()
    let ports = AsyncStream<UInt16>.makeStream()
    let done = Gate()
  }

  private static let clients = 10
  private static let rounds = 20

  @Test("Two loops in one process serve each other's clients, each on its own thread")
  func twoLoops() async throws {
    let sides = [Side(), Side()]
    let loops = try await withThrowingTaskGroup(of: String.self) { group in
      for (mine, other) in [(sides[0], sides[1]), (sides[1], sides[0])] {
        group.addTask {
          // An error must not leave the other loop waiting.
          defer {
            mine.ports.continuation.finish()
            mine.done.open()
          }
          return try await onLoop { _ in try await Self.exchange(mine, with: other) }
        }
      }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(loops.count == 2)
    #expect(sides.allSatisfy { $0.served.all.count == 1 })
    #expect(Set(sides.flatMap { $0.served.all }) == loops)
  }

  /// - Returns: the loop's thread.
  private static func exchange(_ mine: Side, with other: Side) async throws -> String {
    let report = try await whileServing { socket in
      mine.served.note()
      while let line = try await socket.readLine() {
        mine.served.note()
        try await socket.write(line)
      }
      mine.served.note()
    } _: { server in
      mine.ports.continuation.yield(server.serverPort)
      let port = try #require(await other.ports.stream.first { _ in true })
      try await withThrowingTaskGroup { group in
        for _ in 0..<clients {
          group.addTask { try await talk(to: port) }
        }
        try await group.waitForAll()
      }
      mine.done.open()
      await other.done.pass()
    }
    #expect(report.numbers == [UInt64(clients), 0, 0, 0])
    return OtherThread.currentID
  }

  private static func talk(to port: UInt16) async throws {
    let client = TCPSocket()
    try await client.connect(to: "127.0.0.1", port: port)
    for round in 0..<rounds {
      try await client.write("\(round)\n")
      #expect(text(try await client.readLine()) == "\(round)\n")
    }
    client.finishWriting()
    #expect(try await client.readLine() == nil)
  }

  @Test("Several servers on one loop: each has its handlers, and one that ends does not end the others")
  func severalServers() async throws {
    try await onLoop { _ in
      let servers = LoopBound(try (0..<3).map { _ in try listening() })
      let shutdowns = (0..<3).map { _ in GracefulShutdown() }
      let servings = (0..<3).map { index in
        start {
          try await servers.value[index].serve(shutdown: shutdowns[index]) { try await $0.write("\(index)") }
        }
      }
      for ended in 0..<3 {
        for (index, server) in servers.value.enumerated() where index >= ended {
          let client = try #require(PlainClient(to: server))
          try await until { server.statistics.delivered == UInt64(ended + 1) }
          #expect(client.nextInput() == .bytes(Array("\(index)".utf8)))
          #expect(client.nextInput() == .end)
        }
        shutdowns[ended].begin(timeout: .seconds(60))
        #expect(try await servings[ended].value.served == UInt64(ended + 1))
        #expect(servers.value.map(\.isListening) == (0..<3).map { $0 > ended })
      }
    }
  }
}
