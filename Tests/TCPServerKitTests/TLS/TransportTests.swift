// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// A transport that moves nothing: what each call comes to is the test's. Nothing may call it after its end.
private final class ScriptedTransport: SocketTransport {
  var handshakes: [TransportStep] = [.done]
  /// What comes first; nothing afterwards.
  var receives: [TransportCount] = []
  /// What comes first; all is sent afterwards.
  var sends: [TransportCount] = []
  /// Where bytes are sent to; nowhere at first.
  var descriptor: CInt?
  private(set) var hasEnded = false

  func handshake() -> TransportStep {
    expectOpen()
    return handshakes.isEmpty ? .needsInput : handshakes.removeFirst()
  }

  func receive(into buffer: UnsafeMutableRawBufferPointer) -> TransportCount {
    expectOpen()
    guard !receives.isEmpty else { return .needsInput }
    if case .count(let count) = receives[0] {
      for index in 0..<count { unsafe buffer[index] = 7 }
    }
    return receives.removeFirst()
  }

  func send(_ bytes: UnsafeRawBufferPointer) -> TransportCount {
    expectOpen()
    guard sends.isEmpty else { return sends.removeFirst() }
    guard let descriptor else { return .count(bytes.count) }
    let count = unsafe Glibc.send(descriptor, bytes.baseAddress, bytes.count, CInt(MSG_NOSIGNAL))
    return count < 0 ? .needsRoom : .count(count)
  }

  func endWriting() -> TransportStep {
    expectOpen()
    return .done
  }

  var hasBufferedInput: Bool { false }
  var begunBytes: Int { 0 }

  func releaseBuffers() {}

  func connectionEnded() {
    expectOpen()
    hasEnded = true
  }

  private func expectOpen(_ call: StaticString = #function) {
    #expect(!hasEnded, "\(call) after connectionEnded()")
  }

  /// Begins on a socket, and waits until it is ready.
  func makeReady(_ socket: TCPSocket) async throws {
    let refusal = socket.beginHandshake(of: self, isReading: false, observer: ExpectedSuccess())
    #expect(refusal == nil)
    try await until { socket.transportSlot?.state == .ready }
  }
}

private final class ExpectedSuccess: HandshakeObserver {
  func handshakeEnded(_ failure: SocketError?) {
    #expect(failure == nil)
  }
}

/// What a socket asks of what is between it and its descriptor, and when.
@Suite("Transports")
struct TransportTests {
  @Test("Nothing is asked of it after its end, where a write has failed in the same turn")
  func endedAfterFailedWrite() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let transport = ScriptedTransport()
      try await transport.makeReady(pair.socket)
      transport.sends = [.failed(.system(errno: EPIPE))]
      pair.socket.writeAtOnce([[1]])
      pair.socket.abort()
      #expect(transport.hasEnded)
      await turns()
      pair.socket.writeAtOnce([[1]])
      #expect(pair.socket.readAll() == [])
    }
  }

  @Test("A read that needs room is made again though what was held has been sent by flush()")
  func flushed() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let transport = ScriptedTransport()
      try await transport.makeReady(pair.socket)
      transport.sends = [.needsRoom]
      pair.socket.writeAtOnce([[1]])
      #expect(pair.socket.bytesToWrite == 1)
      transport.receives = [.needsRoom, .count(1)]
      let bound = LoopBound(pair.socket)
      let read = start { try await bound.value.read(maxLength: 10) }
      #expect(pair.socket.flush())
      #expect(pair.socket.bytesToWrite == 0)
      #expect(try await read.value == [7])
    }
  }

  @Test("The timeout of a read that waited for the handshake is not the next read's")
  func timeoutOfOneRead() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let transport = ScriptedTransport()
      let refusal = pair.socket.beginHandshake(of: transport, isReading: true, observer: ExpectedSuccess())
      #expect(refusal == nil)
      let slot = try #require(pair.socket.transportSlot)
      let bound = LoopBound(pair.socket)
      let first = start { try await bound.value.read(maxLength: 1, timeout: Loop.limit) }
      #expect(slot.exceptions?.readTimer != nil)
      transport.receives = [.count(1)]
      pair.client.send([1])
      #expect(try await first.value == [7])
      let second = start { try await bound.value.read(maxLength: 1) }
      try await until { pair.socket.waiters.reader.isWaiting }
      #expect(slot.exceptions?.readTimer == nil)
      pair.socket.abort()
      _ = await second.result
    }
  }

  @Test("A read that has begun to wait before the handshake has its timeout")
  func timeoutBeforeHandshake() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let bound = LoopBound(pair.socket)
      let read = start { try await bound.value.read(maxLength: 1, timeout: .milliseconds(1)) }
      let transport = ScriptedTransport()
      transport.handshakes = []
      let refusal = pair.socket.beginHandshake(of: transport, isReading: true, observer: ExpectedSuccess())
      #expect(refusal == nil)
      await #expect(throws: SocketError.socketTimeout) { try await read.value }
      #expect(pair.socket.isHandshaking)
      // It goes on.
      transport.handshakes = [.done]
      pair.client.send([1])
      try await until { !pair.socket.isHandshaking }
    }
  }

  @Test("A write that has waited for the handshake has its timeout after it")
  func writeTimeout() async throws {
    try await onLoop { _ in
      let pair = try await Pair(tight: true)
      // The kernel has no room, and the client does not read.
      let filler = PlainClient(adopting: dup(pair.socket.socketDescriptor))
      while filler.sendWhatFits(1 << 20) > 0 {}
      let bound = LoopBound(pair.socket)
      let transport = ScriptedTransport()
      let refusal = pair.socket.beginHandshake(of: transport, isReading: true, observer: ExpectedSuccess())
      #expect(refusal == nil)
      let write = start { try await bound.value.write(pattern(4 << 20), timeout: .milliseconds(1)) }
      transport.descriptor = pair.socket.socketDescriptor
      pair.client.send([1])
      await #expect(throws: SocketError.socketTimeout) { try await write.value }
    }
  }

  @Test("A socket that is released on another thread leaves none of it behind on the loop")
  func releasedElsewhere() async throws {
    try await onLoop { _ in
      let server = try listening()
      let client = try #require(PlainClient(to: server))
      var socket = try await server.accept()
      let transport = ScriptedTransport()
      try await transport.makeReady(#require(socket))
      let slot = try #require(socket?.transportSlot)
      #expect(slot.isListed)
      let box = Locked(socket)
      socket = nil
      OtherThread { withExtendedLifetime(box.withLock { exchange(&$0, with: nil) }) {} }.join()
      try await until { transport.hasEnded }
      #expect(!slot.isListed)
      #expect(slot.exceptions?.readTimer == nil)
      #expect(client.nextInput() == .end)
    }
  }
}
