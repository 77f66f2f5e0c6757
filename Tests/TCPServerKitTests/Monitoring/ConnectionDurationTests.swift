// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerKit

@Suite("Durations of connections", .blocking)
struct ConnectionDurationTests {
  @Test("A duration is in the class of the power of two above it, in microseconds")
  func buckets() {
    let cases: [(nanoseconds: Int64, bucket: Int)] = [
      (-1, 0), (0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (3999, 2), (4000, 3), (1_000_000, 10),
      (1_073_741_823_999, 30), (1_073_741_824_000, 31), (.max, 31),
    ]
    for (nanoseconds, bucket) in cases {
      #expect(ConnectionDurations.bucket(of: nanoseconds) == bucket, "\(nanoseconds)")
    }
  }

  @Test("A descriptor that no connection began with is not counted, and none is counted twice")
  func unknownDescriptors() {
    let durations = ConnectionDurations()
    durations.end(5, isDelivered: true)
    durations.begin(-1)
    durations.end(-1, isDelivered: true)
    durations.begin(500)
    durations.end(500, isDelivered: true)
    durations.end(500, isDelivered: true)
    durations.begin(3)
    durations.end(3, isDelivered: false)
    var counts = ConnectionDurations.Counts()
    durations.add(to: &counts)
    #expect(counts.delivered.reduce(0, +) == 1)
    #expect(counts.undelivered.reduce(0, +) == 1)
  }

  /// How a connection ends.
  enum End: CaseIterable {
    case closed, aborted, reset, released, releasedElsewhere
  }

  @Test("Every way to end a connection is counted once", arguments: End.allCases)
  func ends(end: End) throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    let durations = ConnectionDurations()
    server.beginTiming(durations)
    #expect(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    var socket = server.nextPendingConnection()
    var disconnected = false
    switch end {
    case .closed:
      socket?.disconnected.connect { disconnected = true }
      socket?.disconnectFromHost()
      client.end()
      #expect(loop.run { disconnected })
    case .aborted:
      // What was written is lost with it.
      socket?.write("x")
      socket?.abort()
    case .reset:
      socket?.readyRead.connect {}
      socket?.disconnected.connect { disconnected = true }
      client.reset()
      #expect(loop.run { disconnected })
    case .released:
      break
    case .releasedElsewhere:
      let held = Locked(exchange(&socket, with: nil))
      let thread = Background { held.withLock { $0 = nil } }
      thread.join()
    }
    socket = nil
    func total() -> UInt64 {
      var counts = ConnectionDurations.Counts()
      durations.add(to: &counts)
      return counts.total
    }
    #expect(loop.run { total() == 1 })
    loop.settle()
    #expect(total() == 1)
    #expect(server.statistics.live == 0)
  }

  @Test("Without a monitor nothing is noticed where a connection begins and ends")
  func off() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(!server.context.noticesConnections)
    let durations = ConnectionDurations()
    server.beginTiming(durations)
    #expect(server.context.noticesConnections)
    server.endTiming(ConnectionDurations())
    #expect(server.context.durations === durations)
    server.endTiming(durations)
    #expect(!server.context.noticesConnections)
    server.maxConnections = 1
    #expect(server.context.noticesConnections)
  }
}
