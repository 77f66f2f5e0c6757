// SPDX-License-Identifier: Apache-2.0

import ServerProgram
import Synchronization
import TCPServerKit

/// The servers behind the gateway, for all loops.
///
/// Clients go to them in turn. One that does not answer is asked last for a while, so that a failed attempt costs one
/// client its time, and not each of them.
final class Backends: Sendable {
  /// How long one that has failed comes after the others.
  static let pause: Duration = .seconds(5)

  private struct Backend {
    let place: Place
    var clients: UInt64 = 0
    /// Nil while it answers.
    var failedUntil: ContinuousClock.Instant?
  }

  private struct State {
    var backends: [Backend]
    var next = 0
  }

  private let state: Mutex<State>
  private let timeout: Duration

  /// - Parameter timeout: how long each may take to accept a connection.
  init(_ places: [Place], timeout: Duration) {
    state = Mutex(State(backends: places.map { Backend(place: $0) }))
    self.timeout = timeout
  }

  /// Connects to the first that answers.
  ///
  /// - Throws: why the last of them did not; `CancellationError`.
  func connect() async throws -> TCPSocket {
    var last: any Error = SocketError.connectionRefused
    for (index, place) in order() {
      let socket = TCPSocket()
      do {
        try await socket.connect(to: place, timeout: timeout)
        noteAnswer(of: index)
        return socket
      } catch let error as SocketError {
        noteFailure(of: index, socket.errorString)
        last = error
      }
    }
    throw last
  }

  /// All of them, the next one first, and those that have failed of late last.
  private func order() -> [(Int, Place)] {
    let now = ContinuousClock.now
    return state.withLock { state in
      let count = state.backends.count
      let turn = (0..<count).map { (state.next + $0) % count }
      let failing = state.backends.map { $0.failedUntil.map { $0 > now } ?? false }
      let order = turn.filter { !failing[$0] } + turn.filter { failing[$0] }
      state.next = ((order.first ?? 0) + 1) % count
      return order.map { ($0, state.backends[$0].place) }
    }
  }

  private func noteAnswer(of index: Int) {
    let returned: Place? = state.withLock { state in
      let hadFailed = state.backends[index].failedUntil != nil
      state.backends[index].failedUntil = nil
      state.backends[index].clients += 1
      return hadFailed ? state.backends[index].place : nil
    }
    if let returned { printLine("Backend \(returned) answers again.") }
  }

  /// Prints the first failure of a row.
  private func noteFailure(of index: Int, _ reason: String) {
    let failed: Place? = state.withLock { state in
      let hadFailed = state.backends[index].failedUntil != nil
      state.backends[index].failedUntil = .now + Self.pause
      return hadFailed ? nil : state.backends[index].place
    }
    if let failed { printLine("Backend \(failed) does not answer: \(reason).") }
  }

  /// A line for each, with the number of its clients.
  var lines: [String] {
    state.withLock { $0.backends.map { "Backend \($0.place): \($0.clients) clients." } }
  }
}
