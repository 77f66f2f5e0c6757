// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Testing

@testable import TCPServerKit
@testable import TCPServerTLS

@Suite(
  "Buffers of idle encrypted connections",
  .enabled(if: Certificates.canBeMade),
  .timeLimit(.minutes(5))
)
struct IdleTransportTests {
  @Test("They are freed once nothing moves, and made again with the next byte")
  func freed() async throws {
    try await onLoop { _ in
      // What is busy stays so, however long it takes.
      fault_stop_clock()
      defer { fault_reset_clock() }
      let server = try listeningEncrypted()
      let client = try await encryptedClient(of: server)
      let socket = try #require(try await server.accept())
      let other = try await encryptedClient(of: server)
      #expect(socket.transportSlot?.isListed == true)
      fault_start_clock()
      other.disconnectFromHost()
      try await until { other.transportSlot?.isListed != true }
      try await until { socket.transportSlot?.isListed == false && client.transportSlot?.isListed == false }
      fault_stop_clock()
      for _ in 0..<3 {
        try await client.write("again\n")
        #expect(text(try await socket.readLine()) == "again\n")
        try await socket.write(pattern(100_000))
        #expect(try await client.read(exactly: 100_000) == pattern(100_000))
      }
      #expect(socket.transportSlot?.isListed == true)
    }
  }
}
