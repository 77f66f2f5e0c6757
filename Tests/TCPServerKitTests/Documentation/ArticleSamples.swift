// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

// Functions of RelaysAndTwoWayProtocols.md, letter by letter: ArticleSampleTests compares them, and calls them.

func converse(_ socket: TCPSocket, events: AsyncStream<[UInt8]>) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask {
      for await event in events { try await socket.write(event) }
    }
    group.addTask {
      while let line = try await socket.readLine() { try await socket.write(line) }
    }
    try await group.next()
    group.cancelAll()
  }
}

func forward(_ source: TCPSocket, to target: TCPSocket) async throws {
  while let bytes = try await source.read(maxLength: 65536) {
    try await target.write(bytes.map { $0 ^ 0x20 })
  }
  target.finishWriting()
}

func relayChanged(_ client: TCPSocket, _ upstream: TCPSocket) async throws {
  do {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await forward(client, to: upstream) }
      group.addTask { try await forward(upstream, to: client) }
      for try await _ in group {}
    }
  } catch {
    client.abort()
    upstream.abort()
    throw error
  }
}
