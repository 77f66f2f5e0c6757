// SPDX-License-Identifier: Apache-2.0

#if Logging
  internal import Logging
  internal import TCPServerKit

  /// The lines about rejected clients, at most ten a second: a flood of clients must not become a flood of lines.
  final class RejectionLog: Sendable {
    private struct State {
      var second = ContinuousClock.now
      var lines = 0
      /// Rejections without a line since the last one that has one.
      var suppressed = 0
    }

    private static let mostLines = 10

    private let logger: Logger
    private let state = Locked(State())

    init(_ logger: Logger) {
      self.logger = logger
    }

    func rejected(_ rejection: RejectedConnection) {
      let suppressed = state.withLock { state -> Int? in
        if ContinuousClock.now - state.second >= .seconds(1) {
          state.second = .now
          state.lines = 0
        }
        guard state.lines < Self.mostLines else {
          state.suppressed += 1
          return nil
        }
        state.lines += 1
        defer { state.suppressed = 0 }
        return state.suppressed
      }
      guard let suppressed else { return }
      logger.trace(
        "Rejected a client",
        metadata: [
          "tcp.server.rejection.reason": "\(rejection.reason)",
          "tcp.server.rejection.suppressed": "\(suppressed)",
          "network.peer.address": "\(rejection.peerAddress)",
          "network.peer.port": "\(rejection.peerPort)",
        ]
      )
    }
  }
#endif
