// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Back-pressure", .timeLimit(.minutes(5)))
struct BackPressureTests {
  @Test("1,000 clients that never read hold one high-water mark each, no more")
  func clientsThatNeverRead() async throws {
    try await onLoop { _ in
      let count = 1000
      let sockets = LoopBound(Sockets())
      let chunk = [UInt8](repeating: 7, count: 1 << 20)
      try await whileServing { socket in
        sockets.value.all.append(socket)
        // A small buffer in the kernel, so that a thousand of them are no matter.
        _ = socket.setSocketOption(.sendBufferSize, 4096)
        // A cancelled write returns.
        while !Task.isCancelled { try await socket.write(chunk) }
      } _: { server in
        let clients = (0..<count).compactMap { _ in PlainClient(to: server) }
        try #require(clients.count == count)
        try await until { sockets.value.all.count == count }
        try await until { sockets.value.all.allSatisfy { $0.bytesToWrite > $0.writeLowWaterMark } }
        await turns()
        #expect(sockets.value.all.allSatisfy { $0.bytesToWrite <= $0.writeHighWaterMark })
      }
    }
  }

  @Test("At the limit of handlers, clients wait in the kernel's queue")
  func limitedHandlers() async throws {
    try await onLoop { base in
      let sockets = LoopBound(Sockets())
      try await whileServing(maxConnections: 2) { socket in
        sockets.value.live += 1
        sockets.value.most = max(sockets.value.most, sockets.value.live)
        defer { sockets.value.live -= 1 }
        guard let line = try await socket.readLine() else { return }
        try await socket.write(line)
      } _: { server in
        server.maxPendingConnections = 4
        let clients = (0..<40).compactMap { _ in PlainClient(to: server) }
        try #require(clients.count == 40)
        try await until { sockets.value.live == 2 && server.statistics.pending == 4 }
        try await until { server.statistics.acceptQueue == 34 }
        await turns()
        #expect(server.statistics.acceptQueue == 34)
        for client in clients {
          client.send("turn\n")
          try await until { client.input() == .bytes(Array("turn\n".utf8)) }
          client.end()
        }
        #expect(sockets.value.most == 2)
      }
    }
  }

  private final class Sockets {
    var all: [TCPSocket] = []
    var live = 0
    var most = 0
  }
}
