// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TCPServerKit
import Testing

/// Functions that an article shows do what it says.
@Suite("Samples of the article about relays", .timeLimit(.minutes(5)))
struct ArticleSampleTests {
  @Test("They are what the article shows")
  func sameText() throws {
    let file = URL(filePath: #filePath)
    let folder = file.deletingLastPathComponent()
    let samples = try String(contentsOf: folder.appending(path: "ArticleSamples.swift"), encoding: .utf8)
    let article = try String(
      contentsOf: folder.appending(
        path: "../../../Sources/TCPServerKit/TCPServerKit.docc/RelaysAndTwoWayProtocols.md"
      ).standardized,
      encoding: .utf8
    )
    let functions = samples.components(separatedBy: "\n\n").filter { $0.hasPrefix("func ") }
    #expect(functions.count == 3)
    for function in functions {
      #expect(article.contains(function.trimmingCharacters(in: .newlines) + "\n"))
    }
  }

  // MARK: - relayChanged

  /// A client and the server behind a relay, made of system calls, while that is at work.
  private static func whileRelaying(
    _ body: (_ client: PlainClient, _ upstream: PlainClient) async throws -> Void
  ) async throws -> ServingReport {
    let behind = try listening()
    let port = behind.serverPort
    let hasEnded = Flag()
    return try await whileServing { client in
      defer { hasEnded.set() }
      let upstream = TCPSocket()
      try await upstream.connect(to: "127.0.0.1", port: port)
      try await relayChanged(client, upstream)
    } _: { server in
      let client = try #require(PlainClient(to: server))
      let socket = try #require(await behind.accept())
      let upstream = PlainClient(adopting: socket.detach())
      try await body(client, upstream)
      try await until { hasEnded.isSet && server.statistics.live == 0 }
    }
  }

  @Test("What the relay passes on is changed, both ways, until both have ended")
  func relays() async throws {
    try await onLoop { _ in
      let report = try await Self.whileRelaying { client, upstream in
        client.send("question")
        try await until { upstream.input() == .bytes(Array("QUESTION".utf8)) }
        client.endWriting()
        try await until { upstream.input() == .end }
        upstream.send("ANSWER")
        upstream.end()
        try await until { client.input() == .bytes(Array("answer".utf8)) }
        try await until { client.input() == .end }
      }
      #expect(report.numbers == [1, 0, 0, 0])
    }
  }

  @Test(
    "When the server behind it resets while the client is silent, the client is reset, and the other way round"
  )
  func relayReset() async throws {
    try await onLoop { _ in
      for resetsClient in [false, true] {
        let report = try await Self.whileRelaying { client, upstream in
          client.send("a")
          try await until { upstream.input() == .bytes(Array("A".utf8)) }
          let (silent, resetting) = resetsClient ? (upstream, client) : (client, upstream)
          resetting.reset()
          try await until { silent.input() == .failed(ECONNRESET) }
        }
        #expect(report.numbers == [1, 1, 0, 0])
      }
    }
  }

  // MARK: - converse

  enum End: CaseIterable {
    case endsInOrder, resets, eventsEnd
  }

  @Test(
    "The conversation ends with the first of its two sides, while the other one waits",
    arguments: End.allCases
  )
  func converses(end: End) async throws {
    try await onLoop { _ in
      let (events, continuation) = AsyncStream<[UInt8]>.makeStream()
      let hasEnded = Flag()
      let report = try await whileServing {
        defer { hasEnded.set() }
        try await converse($0, events: events)
      } _: { server in
        let client = try #require(PlainClient(to: server))
        client.send("line\n")
        try await until { client.input() == .bytes(Array("line\n".utf8)) }
        continuation.yield(Array("event\n".utf8))
        try await until { client.input() == .bytes(Array("event\n".utf8)) }
        switch end {
        case .endsInOrder: client.endWriting()
        case .resets: client.reset()
        case .eventsEnd: continuation.finish()
        }
        if end != .resets {
          try await until { client.input() == .end }
          client.end()
        }
        try await until { hasEnded.isSet && server.statistics.live == 0 }
      }
      #expect(report.numbers == [1, end == .resets ? 1 : 0, 0, 0])
    }
  }
}
