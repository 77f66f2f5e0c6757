// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What `serve` reports about the end of a connection, and how it ends one whose handler has failed.
@Suite("serve() and the end of a connection", .timeLimit(.minutes(5)))
struct ServeEndingTests {
  private struct Refused: Error {}

  /// What `onError` was called with: an error of the socket, or nil for another one.
  private typealias Errors = Shared<[SocketError?]>

  /// Serves one client with `handler`, until its connection has ended.
  private static func serveOne(
    receiveBuffer: CInt = 0,
    handler: @escaping @Sendable (TCPSocket) async throws -> Void,
    _ body: (PlainClient, TCPServer) async throws -> Void
  ) async throws -> (report: ServingReport, errors: [SocketError?]) {
    let server = try listening()
    let errors = Errors([])
    let bound = LoopBound(server)
    let hasEnded = Flag()
    let serving = start {
      try await bound.value.serve(onError: { error, _ in errors.value.append(error as? SocketError) }) {
        defer { hasEnded.set() }
        try await handler($0)
      }
    }
    let client = try #require(PlainClient(to: server, receiveBuffer: receiveBuffer))
    try await body(client, server)
    try await until { hasEnded.isSet && server.statistics.live == 0 }
    await turns()
    serving.cancel()
    let report = try await serving.value
    #expect(report.undelivered == server.statistics.undelivered)
    expectBalanced(server)
    return (report, errors.value)
  }

  /// What a client receives while the loop goes on; then it ends its side.
  private static func delivery(to client: PlainClient) async throws -> Delivery {
    var delivery = Delivery()
    try await until {
      switch client.input(atMost: 1 << 18) {
      case .nothing: return false
      case .bytes(let bytes):
        delivery.bytes += bytes
        return false
      case .end: return true
      case .failed(let errnum):
        delivery.errnum = errnum
        return true
      }
    }
    client.endWriting()
    return delivery
  }

  // MARK: - What onError is called with

  @Test("A peer that resets is one error where nothing was written")
  func resetOnce() async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne {
        while try await $0.read(maxLength: 100) != nil {}
      } _: { client, server in
        client.send("a")
        try await until { server.statistics.delivered == 1 }
        await turns()
        client.reset()
      }
      #expect(errors == [.remoteHostClosed])
      #expect(report.failed == 1 && report.undelivered == 0)
    }
  }

  @Test("A reset that the handler has caught is none")
  func caughtReset() async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne { socket in
        await #expect(throws: SocketError.remoteHostClosed) { try await socket.readLine() }
      } _: { client, _ in
        client.reset()
      }
      #expect(errors == [])
      #expect(report.failed == 0 && report.undelivered == 0)
    }
  }

  @Test(
    "A peer that resets with bytes on their way is one error, too, and undelivered",
    arguments: [false, true]
  )
  func resetWithOutput(writes: Bool) async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne { socket in
        if writes {
          try await socket.write([UInt8](repeating: 7, count: 32 << 20))
        } else {
          socket.hold(16 << 20)
          _ = try await socket.readLine()
        }
      } _: { client, server in
        try await until { server.statistics.delivered == 1 }
        await turns()
        client.reset()
      }
      // A read after the write that has met the reset finds the end of input: then the handler returns.
      #expect(errors == [.remoteHostClosed])
      #expect(report.undelivered == 1)
    }
  }

  @Test(
    "Where the handler throws another error, both are reported if bytes were lost",
    arguments: [false, true]
  )
  func otherError(writes: Bool) async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne { socket in
        if writes { socket.hold(16 << 20) }
        try? await socket.waitUntilPeerEnded()
        throw Refused()
      } _: { client, server in
        try await until { server.statistics.delivered == 1 }
        await turns()
        client.reset()
      }
      #expect(errors == (writes ? [nil, .remoteHostClosed] : [nil]))
      #expect(report.failed == 1 && report.undelivered == (writes ? 1 : 0))
    }
  }

  enum Ending: CaseIterable {
    case returns
    case throwsAnother
    /// An error of the same name as the one that comes later.
    case throwsTimeout
  }

  @Test(
    "Why the last bytes could not be delivered is reported after what the handler threw",
    arguments: Ending.allCases
  )
  func silentPeer(ending: Ending) async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne { socket in
        socket.deliveryTimeout = .milliseconds(100)
        socket.hold(16 << 20)
        switch ending {
        case .returns: break
        case .throwsAnother: throw Refused()
        case .throwsTimeout: _ = try await socket.readLine(timeout: .milliseconds(20))
        }
      } _: { client, server in
        try await until { server.statistics.delivered == 1 && server.statistics.live == 0 }
        #expect(client.readToEnd().errnum == ECONNRESET)
      }
      switch ending {
      case .returns: #expect(errors == [.socketTimeout])
      case .throwsAnother: #expect(errors == [nil, .socketTimeout])
      case .throwsTimeout: #expect(errors == [.socketTimeout, .socketTimeout])
      }
      #expect(report.undelivered == 1)
    }
  }

  @Test("A handler that resets the connection itself has no error, but bytes that were not delivered")
  func abortsItself() async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne { socket in
        socket.hold(16 << 20)
        socket.abort()
      } _: { client, _ in
        let delivery = try await Self.delivery(to: client)
        #expect(delivery.errnum == ECONNRESET)
      }
      #expect(errors == [])
      #expect(report.failed == 0 && report.undelivered == 1)
    }
  }

  @Test(
    "A cancelled call ends what is still closing at once, and reports it without an error",
    arguments: [false, true]
  )
  func cancelledWhileClosing(isDelivered: Bool) async throws {
    try await onLoop { _ in
      let server = try listening()
      let errors = Errors([])
      let bound = LoopBound(server)
      let serving = start {
        try await bound.value.serve(onError: { error, _ in errors.value.append(error as? SocketError) }) {
          socket in
          socket.deliveryTimeout = .seconds(1000)
          if !isDelivered { socket.hold(16 << 20) }
        }
      }
      let client = try #require(PlainClient(to: server))
      try await until { server.statistics.delivered == 1 }
      if isDelivered { try await until { client.input() == .end } }
      await turns()
      #expect(server.statistics.live == 1)
      serving.cancel()
      let report = try await serving.value
      #expect(server.statistics.live == 0)
      #expect(report.undelivered == (isDelivered ? 0 : 1) && report.cancelled == 0 && report.failed == 0)
      #expect(errors.value == [])
      #expect(client.readToEnd().errnum == (isDelivered ? 0 : ECONNRESET))
      expectBalanced(server)
    }
  }

  // MARK: - Writes that have failed part-way

  enum Loss: CaseIterable {
    case timeout
    /// The writes before the last one are whole.
    case timeoutOfPiece
    case cancelled
    case cancelledByTimeoutOfRead
  }

  /// Writes more than a peer takes that does not read, and throws.
  private static func lose(_ loss: Loss, _ answer: [UInt8], _ socket: TCPSocket) async throws {
    switch loss {
    case .timeout:
      try await socket.write(answer, timeout: .milliseconds(100))
    case .timeoutOfPiece:
      for start in stride(from: 0, to: answer.count, by: 16384) {
        try await socket.write(answer[start..<min(start + 16384, answer.count)], timeout: .milliseconds(100))
      }
    case .cancelled:
      let bound = LoopBound(socket)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await bound.value.write(answer) }
        await turns(3)
        group.cancelAll()
        try await group.next()
      }
    case .cancelledByTimeoutOfRead:
      let bound = LoopBound(socket)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await bound.value.write(answer) }
        group.addTask { _ = try await bound.value.readLine(timeout: .milliseconds(50)) }
        while try await group.next() != nil {}
      }
    }
  }

  @Test("A handler that throws after a write has lost bytes resets its connection", arguments: Loss.allCases)
  func half(loss: Loss) async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne(receiveBuffer: 131072) { socket in
        try await Self.lose(loss, [UInt8](repeating: 7, count: 16 << 20), socket)
      } _: { client, server in
        try await until { server.statistics.delivered == 1 && server.statistics.live == 0 }
        #expect(client.readToEnd().errnum == ECONNRESET)
      }
      #expect(errors == [loss == .cancelled ? nil : .socketTimeout])
      #expect(report.failed == 1 && report.undelivered == 1)
    }
  }

  @Test("So does one that has sent the reason of its failure after half an answer")
  func halfWithText() async throws {
    try await onLoop { _ in
      let (report, errors) = try await Self.serveOne(receiveBuffer: 131072) { socket in
        do {
          try await Self.lose(.timeout, [UInt8](repeating: 7, count: 16 << 20), socket)
        } catch {
          try await socket.write("too slow\n")
          throw error
        }
      } _: { client, server in
        try await until { server.statistics.delivered == 1 && server.statistics.live == 0 }
        #expect(client.readToEnd().errnum == ECONNRESET)
      }
      #expect(errors == [.socketTimeout])
      #expect(report.undelivered == 1)
    }
  }

  enum Rest: CaseIterable {
    case inOneWrite
    case inPieces
    case withoutWaiting
    /// The first of them fails, too.
    case inTwoAttempts
  }

  @Test(
    "One that goes on where its write failed delivers everything, and then ends in order even if it throws",
    arguments: [Loss.timeout, .cancelled],
    Rest.allCases
  )
  func resumes(loss: Loss, rest: Rest) async throws {
    try await onLoop { _ in
      let answer = pattern(16 << 20)
      let hasLost = Gate()
      let (report, errors) = try await Self.serveOne(receiveBuffer: 131072) { socket in
        await #expect(throws: (any Error).self) { try await Self.lose(loss, answer, socket) }
        var sent = socket.bytesOfFailedWrite
        #expect(0 < sent && sent < answer.count)
        #expect(socket.bytesToWrite == 0)
        if rest == .inTwoAttempts {
          await #expect(throws: (any Error).self) {
            try await Self.lose(loss, Array(answer[sent...]), socket)
          }
          sent += socket.bytesOfFailedWrite
        }
        hasLost.open()
        switch rest {
        case .inOneWrite, .inTwoAttempts:
          try await socket.write(answer[sent...])
        case .inPieces:
          while sent < answer.count {
            sent += try await socket.write(answer[sent..<min(sent + 1_000_000, answer.count)])
          }
        case .withoutWaiting:
          let write: (TCPSocket) -> Int = { $0.write(answer[sent...]) }
          #expect(write(socket) == answer.count - sent)
        }
        throw Refused()
      } _: { client, _ in
        await hasLost.pass()
        let delivery = try await Self.delivery(to: client)
        #expect(delivery == .whole(answer))
      }
      #expect(errors == [nil])
      #expect(report.failed == 1 && report.undelivered == 0)
    }
  }

  @Test("A handler that returns after a write has failed has made that its answer: it ends in order")
  func returns() async throws {
    try await onLoop { _ in
      let hasFailed = Gate()
      let (report, errors) = try await Self.serveOne(receiveBuffer: 131072) { socket in
        try? await Self.lose(.timeout, [UInt8](repeating: 7, count: 16 << 20), socket)
        hasFailed.open()
      } _: { client, _ in
        await hasFailed.pass()
        let delivery = try await Self.delivery(to: client)
        #expect(delivery.errnum == 0)
      }
      #expect(errors == [])
      #expect(report.failed == 0 && report.undelivered == 0)
    }
  }

  @Test("A timeout while waiting for room, or for what is held to be sent, loses nothing")
  func waitsLoseNothing() async throws {
    try await onLoop { _ in
      let answer = pattern(16 << 20)
      let hasFailed = Gate()
      let (report, _) = try await Self.serveOne(receiveBuffer: 131072) { socket in
        let write: (TCPSocket) -> Int = { $0.write(answer) }
        #expect(write(socket) == answer.count)
        await #expect(throws: SocketError.socketTimeout) {
          try await socket.waitUntilWritable(timeout: .milliseconds(50))
        }
        defer { hasFailed.open() }
        try await socket.waitUntilWritten(timeout: .milliseconds(50))
      } _: { client, _ in
        await hasFailed.pass()
        let delivery = try await Self.delivery(to: client)
        #expect(delivery == .whole(answer))
      }
      #expect(report.failed == 1 && report.undelivered == 0)
    }
  }
}
