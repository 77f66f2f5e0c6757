// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("What a socket may hold for a slow peer", .timeLimit(.minutes(5)))
struct WriteBufferLimitTests {
  @Test("At the limit a write fails and the connection is reset; below it a write is taken whole")
  func resets() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.writeBufferLimit = WriteBufferLimit(bytes: 1 << 20)
      #expect(pair.socket.hold(16 << 20) == 16 << 20)
      #expect(pair.socket.bytesToWrite > 1 << 20)
      #expect(pair.socket.hold(1) == -1)
      #expect(pair.socket.hold(1) == -1)
      #expect(pair.socket.error == .socketResource)
      // Not under the hands of who writes.
      #expect(pair.socket.state == .connected)
      try await until { pair.socket.state == .unconnected }
      #expect(pair.socket.errorString == "The peer is too slow: the write buffer is full")
      var input = pair.client.nextInput()
      while case .bytes = input { input = pair.client.nextInput() }
      #expect(input == .failed(ECONNRESET))
    }
  }

  @Test("The limit of a new socket is 64 MiB, and a reset")
  func atFirst() async throws {
    try await onLoop { _ in
      #expect(TCPSocket().writeBufferLimit == WriteBufferLimit(bytes: 64 << 20, policy: .reset))
    }
  }

  @Test("Writes from another thread wait for the loop, 64 MiB at most", arguments: [false, true])
  func posted(isReset: Bool) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      let policy: WriteBufferLimit.Policy = isReset ? .reset : .fail
      socket.writeBufferLimit = WriteBufferLimit(bytes: 1 << 30, policy: policy)
      // The loop does not turn while the other thread writes.
      func fill() {
        let taken = Counter()
        let refused = Flag()
        OtherThread {
          let piece = [UInt8](repeating: 7, count: 1 << 20)
          for _ in 0..<64 where socket.write(piece) == piece.count { taken.increment() }
          if socket.write("x") == -1 && socket.write("y") == -1 { refused.set() }
        }.join()
        #expect(taken.value == 64)
        #expect(refused.isSet)
      }
      fill()
      if isReset {
        return try await until { socket.state == .unconnected }
      }
      // There is room again for as much.
      for round in 1...2 {
        var received = 0
        try await until {
          received += pair.client.receivedCount()
          return received == 64 << 20
        }
        #expect(socket.state == .connected)
        if round == 1 { fill() }
      }
    }
  }
}
