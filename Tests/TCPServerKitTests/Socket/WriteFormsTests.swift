// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// One of the ways to write the same bytes.
enum WriteForm: CaseIterable {
  case array, slice, lazy, span, buffer, text, pieces

  /// Waits for the peer where it is slow.
  func write(_ bytes: [UInt8], to socket: TCPSocket) async throws -> Int {
    switch self {
    case .array: try await socket.write(bytes)
    case .slice: try await socket.write(bytes[...])
    case .lazy: try await socket.write(bytes.lazy.map { $0 })
    case .span, .buffer: unsafe try await socket.write(bytes.span.bytes)
    case .text: try await socket.write(String(decoding: bytes, as: UTF8.self))
    case .pieces: try await socket.write(pieces: Self.pieces(of: bytes))
    }
  }

  /// Never waits.
  func writeAtOnce(_ bytes: [UInt8], to socket: TCPSocket) -> Int {
    switch self {
    case .array: socket.write(bytes)
    case .slice: socket.write(bytes[...])
    case .lazy: socket.write(bytes.lazy.map { $0 })
    case .span: unsafe socket.write(bytes.span.bytes)
    case .buffer: unsafe bytes.withUnsafeBytes { unsafe socket.write($0) }
    case .text: socket.write(String(decoding: bytes, as: UTF8.self))
    case .pieces: socket.write(pieces: Self.pieces(of: bytes))
    }
  }

  /// More than one system call takes, and empty ones among them.
  private static func pieces(of bytes: [UInt8]) -> [[UInt8]] {
    let length = max(bytes.count / 100, 1)
    return stride(from: 0, to: bytes.count, by: length).flatMap {
      [Array(bytes[$0..<min($0 + length, bytes.count)]), []]
    }
  }

  /// More than the kernel takes of a connection whose buffers are tight, and the mark above it.
  static let large = 1 << 19

  /// ASCII, which changes so that nothing can be missing or doubled unseen.
  static func bytes(_ count: Int) -> [UInt8] {
    Array(all[..<count])
  }

  private static let all: [UInt8] = {
    return unsafe [UInt8](unsafeUninitializedCapacity: large) { bytes, written in
      for index in 0..<large { unsafe bytes[index] = UInt8(32 + (index ^ index >> 8 ^ index >> 16) % 95) }
      written = large
    }
  }()
}

@Suite("Each form of a write", .timeLimit(.minutes(5)))
struct WriteFormsTests {
  private static func expectArrival(of bytes: [UInt8], at client: PlainClient) async throws {
    var received: [UInt8] = []
    try await until {
      while case .bytes(let more) = client.input() { received += more }
      return received.count >= bytes.count
    }
    #expect(Delivery.whole(received) == .whole(bytes))
  }

  @Test("In a task it waits for a slow peer, and holds no more than the mark", arguments: WriteForm.allCases)
  func waits(_ form: WriteForm) async throws {
    try await onLoop { _ in
      let pair = try await Pair(tight: true)
      let bytes = WriteForm.bytes(WriteForm.large)
      let writing = start { try await form.write(bytes, to: pair.socket) }
      try await until { pair.socket.bytesToWrite == pair.socket.writeHighWaterMark }
      try await Self.expectArrival(of: bytes, at: pair.client)
      #expect(try await writing.value == bytes.count)
    }
  }

  @Test("In a task elsewhere, too", arguments: WriteForm.allCases)
  func waitsElsewhere(_ form: WriteForm) async throws {
    try await onLoop { _ in
      let pair = try await Pair(tight: true)
      let bytes = WriteForm.bytes(WriteForm.large)
      let socket = pair.socket
      let writing = Task.detached { try await form.write(bytes, to: socket) }
      try await Self.expectArrival(of: bytes, at: pair.client)
      #expect(try await writing.value == bytes.count)
    }
  }

  @Test(
    "Without waiting all is taken, small or large, on the loop and elsewhere",
    arguments: WriteForm.allCases
  )
  func atOnce(_ form: WriteForm) async throws {
    try await onLoop { _ in
      for count in [0, 5, WriteForm.large] {
        let pair = try await Pair(tight: true)
        let bytes = WriteForm.bytes(count)
        #expect(form.writeAtOnce(bytes, to: pair.socket) == count)
        #expect(form.writeAtOnce(bytes, to: pair.socket) == count)
        try await Self.expectArrival(of: bytes + bytes, at: pair.client)
        let socket = pair.socket
        OtherThread { _ = form.writeAtOnce(bytes, to: socket) }.join()
        try await Self.expectArrival(of: bytes, at: pair.client)
      }
    }
  }

  @Test("While the connection is being made it is kept, and sent after that", arguments: WriteForm.allCases)
  func whileConnecting(_ form: WriteForm) async throws {
    try await onLoop { _ in
      let server = try listening()
      let bytes = WriteForm.bytes(100_000)
      for host in ["127.0.0.1", "localhost"] {
        let client = TCPSocket()
        client.connectToHost(host, port: server.serverPort)
        #expect(client.state != .connected)
        #expect(form.writeAtOnce(bytes, to: client) == bytes.count)
        let writing = start { try await form.write(bytes, to: client) }
        let accepted = try #require(await server.accept())
        #expect(try await accepted.read(exactly: 2 * bytes.count) == bytes + bytes)
        #expect(try await writing.value == bytes.count)
      }
    }
  }

  @Test("To a connection that has ended it fails, in a task by an error", arguments: WriteForm.allCases)
  func ended(_ form: WriteForm) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.abort()
      #expect(form.writeAtOnce([1], to: pair.socket) == -1)
      await #expect(throws: SocketError.self) { try await form.write([1], to: pair.socket) }
      let broken = try await Pair()
      broken.client.reset()
      _ = try? await broken.socket.read(maxLength: 1)
      #expect(form.writeAtOnce([1], to: broken.socket) == -1)
    }
  }
}
