// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("The end of a body", .blocking, .timeLimit(.minutes(5)))
struct RunEndTests {
  enum Form: CaseIterable {
    case run
    case withThread
    case group

    func run<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
      switch self {
      case .run: try Background { Swift.Result { try EventBase().run(body) } }.join().get()
      case .withThread: try await EventBase.withThread { _ in try await body() }
      case .group: try await EventBaseGroup.withThreads(loops: 2) { _ in try await body() }
      }
    }
  }

  enum End: CaseIterable {
    case none
    case finishWriting
    case disconnectFromHost
    case close
  }

  @Test(
    "What it has written is delivered before its loop ends, to a peer that begins to read late, too",
    arguments: Form.allCases,
    End.allCases
  )
  func delivers(form: Form, end: End) async throws {
    let (client, sent) = (Locked<LoopBound<PlainClient>?>(nil), 8 << 20)
    let body: @Sendable () async throws -> Background<Delivery> = {
      let pair = try await Pair()
      client.withLock { $0 = LoopBound(pair.client) }
      let writing = start { try await pair.socket.write([UInt8](repeating: 1, count: sent)) }
      let delivery = pair.client.readToEndElsewhere(thenEnds: true)
      _ = try await writing.value
      pair.socket.hold(100_000)
      switch end {
      case .none: break
      case .finishWriting: pair.socket.finishWriting()
      case .disconnectFromHost: pair.socket.disconnectFromHost()
      case .close: pair.socket.close()
      }
      return delivery
    }
    let delivery = try await form.run(body)
    let received = delivery.join()
    #expect(received.bytes.count == sent + 100_000 && received.errnum == 0)
    withExtendedLifetime(client) {}
  }

  private struct Refused: Error {}

  @Test("Nothing is waited for where it throws, or is cancelled", arguments: Form.allCases, [false, true])
  func endsAtOnce(form: Form, throwsError: Bool) async throws {
    let client = Locked<LoopBound<PlainClient>?>(nil)
    do {
      try await form.run {
        let pair = try await Pair()
        client.withLock { $0 = LoopBound(pair.client) }
        pair.socket.deliveryTimeout = .seconds(100_000)
        pair.socket.hold(32 << 20)
        if throwsError { throw Refused() }
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
      }
    } catch is Refused {
    }
    withExtendedLifetime(client) {}
  }

  @Test(
    "A task that waits for what only that loop could bring gets an error, before and afterwards",
    arguments: Form.allCases
  )
  func waitsEnd(form: Form) async throws {
    let (pair, server, reading) = try await form.run {
      let server = LoopBound(try listening())
      let pair = try await Pair()
      let reading = start {
        await #expect(throws: SocketError.operation) {
          try await pair.socket.read(maxLength: 1, timeout: .seconds(100_000))
        }
        return pair.socket.errorString
      }
      await turns()
      return (pair, server, reading)
    }
    let socket = pair.socket
    #expect(try await reading.value == "The loop of the event base has ended")
    await #expect(throws: SocketError.operation) { try await socket.readLine() }
    await #expect(throws: SocketError.operation) {
      try await socket.write([UInt8](repeating: 1, count: 32 << 20))
    }
    await #expect(throws: SocketError.operation) { try await socket.waitUntilPeerEnded() }
    await #expect(throws: SocketError.operation) { try await server.value.accept() }
    await socket.closeGracefully()
  }

  @Test(
    "So does one that waits for a server's connections",
    arguments: Form.allCases
  )
  func waitsForServerEnd(form: Form) async throws {
    let server = Locked<LoopBound<TCPServer>?>(nil)
    let waiting = try await form.run {
      let listening = LoopBound(try listening())
      server.withLock { $0 = listening }
      let waits: [@Sendable () async throws -> Void] = [
        { _ = try await listening.value.accept() },
        { for try await _ in listening.value.incomingConnections {} },
        { _ = try await listening.value.serve { _ in } },
      ]
      let waiting = waits.map { wait in start { try await wait() } }
      await turns()
      return waiting
    }
    for task in waiting { await #expect(throws: SocketError.operation) { try await task.value } }
    withExtendedLifetime(server) {}
  }

  @Test("A loop may run again: a connection that is kept stays, and is waited for again")
  func runsAgain() throws {
    let base = try EventBase()
    let count = 8 << 20
    let (pair, received) = try base.run {
      let pair = try await Pair()
      pair.socket.hold(count)
      return (pair, Background { pair.client.receive(exactly: count).count })
    }
    #expect(received.join() == count)
    let text = try base.run {
      let reading = start { try await pair.socket.readLine() }
      await turns()
      pair.client.send("again\n")
      return try await reading.value
    }
    #expect(text == Array("again\n".utf8))
  }
}
