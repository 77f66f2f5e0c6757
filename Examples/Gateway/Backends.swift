// SPDX-License-Identifier: Apache-2.0

import ServerProgram
import Synchronization
import TCPServerKit

/// The servers behind the gateway, for all loops.
///
/// Clients go to them in turn. One that has failed is left out for a while, unless all others fail, too. After that one
/// client tries it, and until that attempt has ended the others leave it out as before. The clients that were sent to a
/// backend before its first failure have all waited for it: there is no check beside them.
final class Backends: Sendable {
  private struct Backend {
    let place: Place
    var clients: UInt64 = 0
    /// Until when it is left out; nil while it answers.
    var failedUntil: ContinuousClock.Instant?
    /// Whether a client tries it after a failure.
    var isBeingTried = false

    func isLeftOut(at now: ContinuousClock.Instant) -> Bool {
      isBeingTried || failedUntil.map { $0 > now } ?? false
    }
  }

  private struct State {
    var backends: [Backend]
    var next = 0
    /// Until when a lack of resources is not printed again.
    var lackPrintedUntil: ContinuousClock.Instant?
  }

  private struct Attempt {
    let index: Int
    let place: Place
    /// Whether it is the one after a failure.
    let isTrial: Bool
  }

  /// How long a lack of resources is not printed again.
  private static let lackPause: Duration = .seconds(5)

  private let state: Mutex<State>
  private let timeout: Duration
  private let pause: Duration

  /// - Parameters:
  ///   - timeout: how long each may take to accept a connection.
  ///   - pause: how long one that has failed is left out.
  init(_ places: [Place], timeout: Duration, pause: Duration) {
    state = Mutex(State(backends: places.map { Backend(place: $0) }))
    self.timeout = timeout
    self.pause = pause
  }

  /// Connects to the first that answers.
  ///
  /// - Throws: why the last of them did not; `SocketError.socketResource` where this process has no descriptors or no
  ///   memory for it, which is not a backend's failure; `CancellationError`.
  func connect() async throws -> TCPSocket {
    var tried: Set<Int> = []
    var last: any Error = SocketError.connectionRefused
    while let attempt = begin(without: tried) {
      tried.insert(attempt.index)
      let socket = TCPSocket()
      do {
        try await socket.connect(to: attempt.place, timeout: timeout)
        noteAnswer(to: attempt)
        return socket
      } catch let error as SocketError where error != .socketResource {
        noteFailure(of: attempt, error == .socketTimeout ? "\(error)" : socket.errorString)
        last = error
      } catch {
        end(attempt)
        if error is SocketError { noteLack(socket.errorString) }
        throw error
      }
    }
    throw last
  }

  /// The next one that this client has not tried, one that is left out only where there is no other.
  private func begin(without tried: Set<Int>) -> Attempt? {
    let now = ContinuousClock.now
    return state.withLock { state in
      let count = state.backends.count
      let turn = (0..<count).map { (state.next + $0) % count }.filter { !tried.contains($0) }
      let answering = turn.first { !state.backends[$0].isLeftOut(at: now) }
      guard let index = answering ?? turn.first else { return nil }
      state.next = (index + 1) % count
      let backend = state.backends[index]
      let isTrial = backend.failedUntil != nil && !backend.isBeingTried
      if isTrial { state.backends[index].isBeingTried = true }
      return Attempt(index: index, place: backend.place, isTrial: isTrial)
    }
  }

  private func noteAnswer(to attempt: Attempt) {
    end(attempt)
    let hadFailed = state.withLock { state in
      state.backends[attempt.index].clients += 1
      return state.backends[attempt.index].failedUntil.take() != nil
    }
    if hadFailed { printLine("Backend \(attempt.place) answers again.") }
  }

  /// Prints the first failure of a row.
  private func noteFailure(of attempt: Attempt, _ reason: String) {
    let hadFailed = state.withLock { state in
      let hadFailed = state.backends[attempt.index].failedUntil != nil
      state.backends[attempt.index].failedUntil = .now + pause
      return hadFailed
    }
    end(attempt)
    if !hadFailed { printLine("Backend \(attempt.place) does not answer: \(reason).") }
  }

  private func end(_ attempt: Attempt) {
    guard attempt.isTrial else { return }
    state.withLock { $0.backends[attempt.index].isBeingTried = false }
  }

  private func noteLack(_ reason: String) {
    let now = ContinuousClock.now
    let isNew = state.withLock { state in
      if let until = state.lackPrintedUntil, until > now { return false }
      state.lackPrintedUntil = now + Self.lackPause
      return true
    }
    if isNew { printLine("A client was not served: \(reason).") }
  }

  /// A line for each, with the number of its clients.
  var lines: [String] {
    state.withLock { $0.backends.map { "Backend \($0.place): \($0.clients) clients." } }
  }
}
