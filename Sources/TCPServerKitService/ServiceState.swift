// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
  internal import TCPServerKit

  /// Whether a service listens, for any task.
  final class ServiceState: Sendable {
    private typealias Waiter = CheckedContinuation<TCPService.ListeningPlace, any Error>

    private enum Phase {
      case idle
      case starting(GracefulShutdown)
      case listening(TCPService.ListeningPlace, GracefulShutdown, TCPServerGroup)
      case ended(any Error)
    }

    private struct State {
      var phase = Phase.idle
      var waiters: [UInt64: Waiter] = [:]
      /// Of waits whose task was cancelled before they had begun.
      var cancelled: Set<UInt64> = []
      var lastID: UInt64 = 0

      mutating func answer(
        or waiter: Waiter,
        _ id: UInt64
      ) -> Result<TCPService.ListeningPlace, any Error>? {
        if cancelled.remove(id) != nil { return .failure(CancellationError()) }
        switch phase {
        case .listening(let place, _, _): return .success(place)
        case .ended(let error): return .failure(error)
        case .idle, .starting:
          waiters[id] = waiter
          return nil
        }
      }

      mutating func takeWaiters() -> [Waiter] {
        defer { waiters = [:] }
        return Array(waiters.values)
      }
    }

    private let state = Locked(State())

    /// - Returns: false while the service runs already.
    func begin(_ shutdown: GracefulShutdown) -> Bool {
      state.withLock { state in
        switch state.phase {
        case .starting, .listening: return false
        case .idle, .ended:
          state.phase = .starting(shutdown)
          return true
        }
      }
    }

    func listens(_ server: TCPServerGroup) {
      let place = TCPService.ListeningPlace(address: server.serverAddress, port: server.serverPort)
      let waiters = state.withLock { state -> [Waiter] in
        guard case .starting(let shutdown) = state.phase else { return [] }
        state.phase = .listening(place, shutdown, server)
        return state.takeWaiters()
      }
      for waiter in waiters { waiter.resume(returning: place) }
    }

    func end(_ error: any Error) {
      let waiters = state.withLock { state in
        state.phase = .ended(error)
        return state.takeWaiters()
      }
      for waiter in waiters { waiter.resume(throwing: error) }
    }

    var isReady: Bool {
      state.withLock { state in
        if case .listening(_, let shutdown, _) = state.phase { !shutdown.isAnnounced } else { false }
      }
    }

    var server: TCPServerGroup? {
      state.withLock { state in
        if case .listening(_, _, let server) = state.phase { server } else { nil }
      }
    }

    func waitUntilListening() async throws -> TCPService.ListeningPlace {
      let id = state.withLock { state in
        state.lastID += 1
        return state.lastID
      }
      return try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { waiter in
          let known = state.withLock { $0.answer(or: waiter, id) }
          if let known { waiter.resume(with: known) }
        }
      } onCancel: {
        let waiter = state.withLock { state in
          let waiter = state.waiters.removeValue(forKey: id)
          if waiter == nil { state.cancelled.insert(id) }
          return waiter
        }
        waiter?.resume(throwing: CancellationError())
      }
    }
  }
#endif
