// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("The rate of handshakes", .enabled(if: Certificates.canBeMade), .timeLimit(.minutes(5)))
struct HandshakeRateTests {
  @Test("A bucket gives a burst at once, and then one in each interval")
  func bucket() {
    let start = ContinuousClock.now
    var bucket = HandshakeBucket(AcceptRate(acceptsPerSecond: 10, burst: 3), start)
    #expect(taken(4, &bucket, start) == 3)
    #expect(bucket.wait(start) == .milliseconds(100))
    #expect(taken(1, &bucket, start + .milliseconds(99)) == 0)
    #expect(taken(2, &bucket, start + .milliseconds(100)) == 1)
    // No more than a burst is kept.
    #expect(taken(10, &bucket, start + .seconds(60)) == 3)
  }

  @Test("Rates that make no sense count as the next that does")
  func extremes() {
    let start = ContinuousClock.now
    var none = HandshakeBucket(AcceptRate(acceptsPerSecond: 0, burst: 0), start)
    #expect(taken(2, &none, start) == 1)
    #expect(taken(1, &none, start + .milliseconds(999)) == 0)
    #expect(taken(2, &none, start + .seconds(1)) == 1)
    var all = HandshakeBucket(AcceptRate(acceptsPerSecond: .max), start)
    #expect(taken(1, &all, start) == 1)
    #expect(all.wait(start) == .milliseconds(1))
    // What comes in a millisecond is there in any case.
    var small = HandshakeBucket(AcceptRate(acceptsPerSecond: 3000, burst: 1), start)
    #expect(taken(10, &small, start) == 3)
  }

  /// How many of so many tokens there are.
  private func taken(_ count: Int, _ bucket: inout HandshakeBucket, _ time: ContinuousClock.Instant) -> Int {
    var taken = 0
    for _ in 0..<count where bucket.take(time) { taken += 1 }
    return taken
  }

  /// A rate that nothing in a test waits for.
  private static let slow = AcceptRate(acceptsPerSecond: 1, burst: 1)

  private func talkingClient(of server: SSLServer) throws -> PlainClient {
    let client = try #require(PlainClient(to: server))
    client.send([22, 3, 1])
    return client
  }

  @Test("Beyond it handshakes wait, in order, and go on by another rate at once")
  func waiting() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        // The rate gives no more than its burst, however long the handshakes take.
        fault_stop_clock()
        defer { fault_reset_clock() }
        #expect(server.handshakeRate == nil)
        server.handshakeRate = nil
        server.handshakeRate = AcceptRate(acceptsPerSecond: 1, burst: 2)
        #expect(server.handshakeRate?.burst == 2)
        let first = try await encryptedClient(of: server)
        let second = try await encryptedClient(of: server)
        #expect(server.handshakeStatistics.ratePauses == 0)
        let third = start { [server] in try await encryptedClient(of: server) }
        let fourth = start { [server] in try await encryptedClient(of: server) }
        try await until {
          server.handshakeStatistics.ratePauses == 1 && server.handshakeStatistics.current == 2
        }
        // Those that are there are served, and silent ones take nothing.
        try await first.write("x")
        #expect(try await first.read(exactly: 1) == [120])
        server.handshakeRate = nil
        for client in [second, try await third.value, try await fourth.value] {
          try await client.write("y")
          #expect(try await client.read(exactly: 1) == [121])
        }
        #expect(server.handshakeStatistics.completed == 4)
      }
    }
  }

  @Test("One that waits goes on when its time has come", arguments: [false, true])
  func goesOn(onThreads: Bool) async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        if onThreads { server.handshakeThreads = SSLHandshakeThreads() }
        server.handshakeRate = AcceptRate(acceptsPerSecond: 20, burst: 1)
        for _ in 0..<4 {
          let client = try await encryptedClient(of: server)
          try await client.write("x")
          #expect(try await client.read(exactly: 1) == [120])
        }
        #expect(server.handshakeStatistics.completed == 4)
      }
    }
  }

  @Test("One that waits is ended by its deadline, by its client's place, and by the server's end")
  func ends() async throws {
    try await onLoop { _ in
      let server = try listeningEncrypted()
      server.handshakeTimeout = Loop.limit
      server.handshakeRate = Self.slow
      let served = start { [server] in try await server.accept() }
      let client = try await encryptedClient(of: server)
      _ = try await served.value
      server.maxHandshakes = 2
      let waiting = try (0..<2).map { _ in try talkingClient(of: server) }
      try await until {
        server.handshakeStatistics.ratePauses == 1 && server.handshakeStatistics.current == 2
      }
      await turns()
      let third = try talkingClient(of: server)
      try await until { server.handshakeStatistics.dropped == 1 }
      try await until { waiting[0].input() != .nothing }
      server.handshakeTimeout = .milliseconds(1)
      try await until { server.handshakeStatistics.timedOut == 2 }
      try await until { waiting[1].input() != .nothing && third.input() != .nothing }
      server.handshakeTimeout = Loop.limit
      let last = try talkingClient(of: server)
      try await until { server.handshakeStatistics.current == 1 }
      await turns()
      server.close()
      #expect(server.handshakeStatistics.closed == 1)
      try await until { last.input() != .nothing }
      client.abort()
    }
  }

  @Test("Those that have ended while they waited are forgotten")
  func forgotten() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.handshakeRate = Self.slow
        _ = try await encryptedClient(of: server)
        let transports = Shared<[Weak<TCPSocket>]>([])
        server.startedEncryptionHandshake.connect { socket in transports.value.append(Weak(socket)) }
        server.maxHandshakes = 1
        for number in 1...200 {
          let client = try talkingClient(of: server)
          try await until { transports.value.count == number }
          await turns(3)
          withExtendedLifetime(client) {}
        }
        #expect(transports.value.filter { $0.value != nil }.count < 100)
        server.startedEncryptionHandshake.disconnectAll()
      }
    }
  }

  @Test("A rate that is set while a handshake is in progress does not stop it")
  func setLater() async throws {
    try await onLoop { _ in
      let (asked, gate) = (Counter(), Gate())
      try await whileServingEncrypted(
        {
          $0.identityLookup = { _ in
            asked.increment()
            await gate.pass()
            return nil
          }
        },
        handler: echo
      ) { server in
        let begun = start { [server] in try await encryptedClient(of: server) }
        try await until { asked.value == 1 }
        server.handshakeRate = Self.slow
        // Takes what the rate gives.
        let talking = try talkingClient(of: server)
        try await until { server.handshakeStatistics.current == 2 }
        await turns()
        gate.open()
        let client = try await begun.value
        try await client.write("x")
        #expect(try await client.read(exactly: 1) == [120])
        #expect(server.handshakeStatistics.ratePauses == 0)
        withExtendedLifetime(talking) {}
      }
    }
  }
}
