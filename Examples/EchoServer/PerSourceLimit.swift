// SPDX-License-Identifier: Apache-2.0

import Synchronization
import TCPServerKit

/// At most so many connections at once from each address; on any number of loops.
final class PerSourceLimit: Sendable {
  private let most: Int
  private let counts = Mutex<[HostAddress: Int]>([:])

  init(_ most: Int) {
    self.most = most
  }

  /// For `TCPServer.admissionHandler`. A rejected client is reset: that leaves nothing in the kernel for a flood to fill.
  func admit(_ address: HostAddress) -> Admission {
    counts.withLock { counts in
      let count = counts[address, default: 0]
      guard count < most else { return .reset }
      counts[address] = count + 1
      return .admit
    }
  }

  /// Makes room when a connection has been served.
  func counting(_ handler: @escaping ConnectionHandler) -> ConnectionHandler {
    @Sendable func counted(_ socket: TCPSocket) async throws {
      defer { leave(socket.peerAddress) }
      try await handler(socket)
    }
    return counted
  }

  private func leave(_ address: HostAddress) {
    counts.withLock { counts in
      let count = counts[address, default: 1]
      counts[address] = count > 1 ? count - 1 : nil
    }
  }
}
