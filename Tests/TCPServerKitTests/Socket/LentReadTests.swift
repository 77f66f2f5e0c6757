// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Lent bytes of an async read", .timeLimit(.minutes(5)))
struct LentReadTests {
  @Test(
    "A read lends at most what it is asked for; asked for none, it waits for the first byte and lends none"
  )
  func sizes() async throws {
    try await onLoop { base in
      let (socket, peer) = try connectedPair(base)
      peer.send("abcdef")
      #expect(try await socket.read(upTo: 2, { $0.byteCount }) == 2)
      #expect(try await socket.read(upTo: 0, { $0.byteCount }) == 0)
      #expect(try await socket.read(upTo: -1, { $0.byteCount }) == 0)
      #expect(try await socket.read({ $0.byteCount }) == 4)
      let waiting = start { try await socket.read(upTo: 0, { $0.byteCount }) }
      await turns()
      peer.send("g")
      #expect(try await waiting.value == 0)
      #expect(try await socket.read(maxLength: 9) == Array("g".utf8))
      peer.end()
      #expect(try await socket.read(upTo: 0, { $0.byteCount }) == nil)
      #expect(try await socket.read({ $0.byteCount }) == nil)
    }
  }

  @Test("A body may suspend, and others read from their sockets meanwhile")
  func suspending() async throws {
    try await onLoop { base in
      let (socket, peer) = try connectedPair(base)
      let (other, otherPeer) = try connectedPair(base)
      peer.send("abc")
      otherPeer.send("xyz")
      let sum = try await socket.read(upTo: 2) { bytes in
        let others = try await other.read(maxLength: 3)
        return bytes.byteCount + (others?.count ?? 0)
      }
      #expect(sum == 5)
      #expect(try await socket.read(maxLength: 9) == Array("c".utf8))
      peer.end()
      #expect(
        try await socket.read { bytes in
          await turns(); return bytes.byteCount
        } == nil
      )
    }
  }

  private actor Reader {
    func read(from socket: TCPSocket) async throws -> Int? {
      try await socket.read { bytes in
        preconditionIsolated()
        return bytes.byteCount
      }
    }
  }

  @Test("A body runs where its caller does: in an actor there, in a task of the loop on its thread")
  func whereBodyRuns() async throws {
    try await onLoop { base in
      let (socket, peer) = try connectedPair(base)
      peer.send("abc")
      #expect(try await Reader().read(from: socket) == 3)
      peer.send("d")
      #expect(try await socket.read { _ in EventBase.current === base } == true)
    }
  }

  @Test("In a task elsewhere both forms lend the same")
  func elsewhere() async throws {
    try await onLoop { base in
      let (socket, peer) = try connectedPair(base)
      peer.send("abcdef")
      let lent = Task.detached { try await socket.read(upTo: 4) { $0.byteCount } }
      #expect(try await lent.value == 4)
      let suspending = Task.detached {
        try await socket.read { bytes in
          await Task.yield(); return bytes.byteCount
        }
      }
      #expect(try await suspending.value == 2)
      let waiting = Task.detached { try await socket.read(exactly: 2) }
      peer.send("gh")
      #expect(try await waiting.value == Array("gh".utf8))
    }
  }
}
