// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Connecting a socket that was bound or connected", .timeLimit(.minutes(5)))
struct ConnectingAgainTests {
  @Test("A bound socket connects in a task, from what it was bound to")
  func bound() async throws {
    try await onLoop { _ in
      let server = try listening()
      let socket = TCPSocket()
      #expect(socket.bind(address: .localHost))
      let port = socket.localPort
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      #expect(try await server.accept()?.peerPort == port)
    }
  }

  @Test("A bound socket does not connect to a path, and stays bound")
  func boundAndPath() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let socket = TCPSocket()
      #expect(socket.bind(address: .localHost))
      await #expect(throws: SocketError.operation) { try await socket.connect(path: folder.path) }
      #expect(socket.errorString == "connectToServer() called on a socket in use")
      #expect(socket.state == .bound)
    }
  }

  @Test("A socket that waits for its peer's end alone connects again in a task", arguments: [false, true])
  func lingering(isPath: Bool) async throws {
    try await onLoop { base in
      let (server, folder) = (try listening(), try SocketFolder())
      let atPath = try listening(at: folder, on: base)
      let socket = TCPSocket()
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      #expect(await socket.closeGracefully())
      #expect(socket.state == .closing)
      if isPath {
        try await socket.connect(path: folder.path)
      } else {
        try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      }
      #expect(socket.state == .connected)
      await #expect(throws: SocketError.operation) {
        try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      }
      #expect(socket.state == .connected)
      withExtendedLifetime(atPath) {}
    }
  }

  @Test("The limit of what may be held ends each connection of a socket that overflows")
  func overflowsAgain() async throws {
    try await onLoop { _ in
      let server = try listening()
      let socket = TCPSocket()
      socket.writeBufferLimit = WriteBufferLimit(bytes: 1 << 20)
      for _ in 0..<2 {
        try await socket.connect(to: "127.0.0.1", port: server.serverPort)
        #expect(socket.hold(16 << 20) == 16 << 20)
        #expect(socket.hold(1) == -1)
        try await until { socket.state == .unconnected }
      }
    }
  }

  @Test("A connection that has overflowed, and was aborted, does not end the next one")
  func overflowOfTheLast() async throws {
    try await onLoop { _ in
      let server = try listening()
      let socket = TCPSocket()
      socket.writeBufferLimit = WriteBufferLimit(bytes: 1 << 20)
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      #expect(socket.hold(16 << 20) == 16 << 20)
      #expect(socket.hold(1) == -1)
      socket.abort()
      try await socket.connect(to: "127.0.0.1", port: server.serverPort)
      await turns()
      #expect(socket.state == .connected)
    }
  }
}
