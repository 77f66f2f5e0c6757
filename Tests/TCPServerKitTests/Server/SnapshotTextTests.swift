// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import TCPServerKit

@Suite("A look into a running server, as text and as JSON")
struct SnapshotTextTests {
  /// One of a loop that answered and one of a loop that is stuck, with the name of an interface that needs escaping.
  private func snapshot() throws -> TCPServer.Snapshot {
    let server = TCPServer(eventBase: nil)
    var statistics = server.statistics
    (statistics.accepted, statistics.live, statistics.acceptQueueLimit) = (7, 2, 128)
    statistics.overloadTime = .milliseconds(1500)
    let connection = TCPSocket.Snapshot(
      peerAddress: try #require(HostAddress("2001:db8::1")),
      peerPort: 40123,
      descriptor: 14,
      state: .connected,
      age: nil,
      silence: .milliseconds(3205),
      bytesRead: 120,
      bytesToRead: 3,
      bytesDelivered: 77,
      bytesToWrite: 0,
      activities: [.reading, .writing],
      error: .lineTooLong,
      errorString: "a \"line\"\\\n\u{1}\u{e9}"
    )
    let other = TCPSocket.Snapshot(
      peerAddress: .localHost,
      peerPort: 40124,
      descriptor: -1,
      state: .unconnected,
      age: .seconds(61),
      silence: nil,
      bytesRead: nil,
      bytesToRead: 0,
      bytesDelivered: nil,
      bytesToWrite: 0,
      activities: [],
      error: nil,
      errorString: ""
    )
    func loop(_ index: Int, _ delay: Duration?, _ connections: [TCPSocket.Snapshot])
      -> TCPServer.Snapshot.Loop
    {
      TCPServer.Snapshot.Loop(
        index: index,
        accepts: index == 0,
        delay: delay,
        statistics: delay == nil ? nil : statistics,
        waitingJobs: index,
        errorString: index == 0 ? "" : "oh",
        connections: connections,
        omittedConnections: index * 4,
        unseenConnections: index
      )
    }
    return TCPServer.Snapshot(
      address: .localHost,
      port: 4243,
      path: nil,
      statistics: statistics,
      loops: [loop(0, .microseconds(1999), [other, connection]), loop(1, nil, [])]
    )
  }

  @Test("The text has a line for the server, for each loop and for each connection")
  func text() throws {
    let numbers = "live 2, pending 0, on their way 0, accepted 7, accept queue 0 of 128"
    #expect(
      try snapshot().description == """
        server on 127.0.0.1, port 4243: \(numbers)
        loop 0 (accepts): answered after 0.001 s; \(numbers); jobs of other threads 0
          127.0.0.1:40124, descriptor -1, unconnected, age 61.000 s; read unknown and 0 wait, delivered unknown and 0 \
        wait; nothing waits
          [2001:db8::1]:40123, descriptor 14, connected, age unknown, silent for 3.205 s; read 120 and 3 wait, \
        delivered 77 and 0 wait; a task reads, a task writes; last error: a "line"\\\n\u{1}\u{e9}
        loop 1: STUCK, it has not answered; jobs of other threads 1; last error: oh
          left out: 4
          unseen: 1
        """
    )
  }

  @Test("The JSON is read by a parser of others, and says the same")
  func json() throws {
    let json = try snapshot().json
    #expect(!json.contains("\n"))
    let server = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
    #expect(server["address"] as? String == "127.0.0.1" && server["port"] as? Int == 4243)
    #expect(server["path"] is NSNull)
    #expect(server["omittedConnections"] as? Int == 4)
    let statistics = try #require(server["statistics"] as? [String: Any])
    #expect(statistics["accepted"] as? Int == 7 && statistics["overloadTime"] as? Double == 1.5)
    let loops = try #require(server["loops"] as? [[String: Any]])
    #expect(loops.map { $0["isStuck"] as? Bool } == [false, true])
    #expect(loops[0]["delay"] as? Double == 0.001 && loops[1]["delay"] is NSNull)
    #expect(loops[1]["statistics"] is NSNull && loops[1]["waitingJobs"] as? Int == 1)
    #expect(loops[1]["unseenConnections"] as? Int == 1 && loops[1]["errorString"] as? String == "oh")
    let connections = try #require(loops[0]["connections"] as? [[String: Any]])
    #expect(connections.map { $0["peerPort"] as? Int } == [40124, 40123])
    let second = connections[1]
    #expect(second["peerAddress"] as? String == "2001:db8::1" && second["descriptor"] as? Int == 14)
    #expect(second["state"] as? String == "connected" && second["age"] is NSNull)
    #expect(second["silence"] as? Double == 3.205 && second["bytesRead"] as? Int == 120)
    #expect(second["bytesToRead"] as? Int == 3 && second["bytesDelivered"] as? Int == 77)
    #expect(second["activities"] as? [String] == ["reading", "writing"])
    #expect(second["error"] as? String == "a \"line\"\\\n\u{1}\u{e9}")
    #expect(connections[0]["error"] is NSNull && connections[0]["descriptor"] as? Int == -1)
    #expect(connections[0]["age"] as? Double == 61)
  }

  @Test("Every counter of the statistics is in the JSON")
  func counters() throws {
    let statistics = TCPServer(eventBase: nil).statistics
    let json =
      try JSONSerialization.jsonObject(with: Data(statistics.json.description.utf8)) as? [String: Any]
    #expect(
      Set(json?.keys.map { $0 } ?? []) == Set(Mirror(reflecting: statistics).children.compactMap(\.label))
    )
  }

  @Test("Every character comes back out of a JSON string, and is one line in it")
  func escaping() throws {
    let all =
      String(String.UnicodeScalarView((0...0x2fff).compactMap { Unicode.Scalar($0) })) + "\u{1F600}\"\\"
    let text = JSONValue.array([.text(all)]).description
    #expect(!text.unicodeScalars.contains { $0.value < 0x20 })
    #expect(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String] == [all])
    let values = JSONValue.array([
      .null, .bool(true), .bool(false), .object([:]), .array([]), .seconds(.seconds(-1)),
    ])
    #expect(values.description == "[null,true,false,{},[],0.000]")
  }

  @Test("A server at a path has that in the place of its address")
  func path() async throws {
    try await onLoop { _ in
      let server = TCPServer()
      let path = "@snapshot/\(getpid())"
      #expect(server.listen(path: path))
      let snapshot = await server.snapshot()
      #expect(snapshot.path == path)
      #expect(snapshot.description.hasPrefix("server at \(path): live 0"))
      #expect(snapshot.json.contains("\"path\":\"\(path)\""))
    }
  }
}
