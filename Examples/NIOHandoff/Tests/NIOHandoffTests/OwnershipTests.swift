// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix
import ProgramTesting
import Synchronization
import TCPServerKit
import Testing

@testable import NIOHandoff

/// Clients that SwiftNIO does not come to serve, on a loop that the test turns itself.
@Suite("A handoff that fails", .timeLimit(.minutes(5)))
struct OwnershipTests {
  private struct Refusal: Error {}

  @Test("A channel that cannot be set up is closed, and the server gets its error and its end")
  func failedInitializer() throws {
    #expect(try failures { $0.eventLoop.makeFailedFuture(Refusal()) } == 10)
  }

  @Test("A server that is released before its channels gets no report of their end")
  func serverEndsFirst() throws {
    let loop = try EventBase()
    let client = try {
      let echo: @Sendable (any Channel) -> EventLoopFuture<Void> = {
        Echo.serve($0, firstByte: .minutes(1), idle: .minutes(1))
      }
      let server = try listeningServer(loop, echo) { _ in }
      let client = try #require(Connection(port: server.serverPort))
      turn(loop) { server.statistics.delivered == 1 }
      return client
    }()
    client.send([1])
    #expect(client.receive(1) == [1])
    client.endSending()
    #expect(client.receiveToEnd() == [])
    loop.runOnce(timeout: .milliseconds(50))
  }

  /// How many of ten clients were not served, as the server was notified. None of them is left then.
  private func failures(
    _ initialize: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
  ) throws -> Int {
    let failures = Counter()
    let loop = try EventBase()
    let server = try listeningServer(loop, initialize) { _ in failures.add() }
    // One at a time: the next would wait for ever, if the server were not notified of the last one's end.
    server.maxConnections = 1
    for number in 1...10 {
      let client = try #require(Connection(port: server.serverPort))
      turn(loop) { server.statistics.delivered == UInt64(number) && server.statistics.live == 0 }
      #expect(client.receiveToEnd() == [])
    }
    #expect(server.statistics.delivered == 10)
    #expect(server.statistics.live == 0)
    // Reported by SwiftNIO's thread, perhaps after the channel's end.
    turn(loop) { failures.value == 10 }
    return failures.value
  }

  private func listeningServer(
    _ loop: EventBase,
    _ initialize: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>,
    whenFailed: @escaping @Sendable (any Error) -> Void
  ) throws -> ChannelServer {
    let server = ChannelServer(
      eventBase: loop,
      group: MultiThreadedEventLoopGroup.singleton,
      initialize: initialize,
      whenFailed: whenFailed
    )
    try #require(server.listen(address: .localHost), "\(server.errorString)")
    return server
  }

  private func turn(_ loop: EventBase, until isDone: () -> Bool) {
    let deadline = ContinuousClock.now + .seconds(60)
    while !isDone(), .now < deadline {
      loop.runOnce(timeout: .milliseconds(10))
    }
  }
}

private final class Counter: Sendable {
  private let count = Atomic(0)

  var value: Int {
    count.load(ordering: .relaxed)
  }

  func add() {
    count.add(1, ordering: .relaxed)
  }
}
