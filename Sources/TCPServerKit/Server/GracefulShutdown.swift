/// Ends servers in order: from any thread, for any number of ``TCPServer/serve(maxConnections:shutdown:handler:)``
/// calls that were given it.
///
/// Each of them stops accepting, serves the clients that the kernel has already completed, lets its handlers
/// end, and cancels those that have not by the deadline.
public final class GracefulShutdown: Sendable {
  private struct State {
    var deadline: ContinuousClock.Instant?
    var begun: [UInt64: @Sendable (ContinuousClock.Instant) -> Void] = [:]
    var lastID: UInt64 = 0
  }

  private let state = Locked(State())

  /// Makes a shutdown that has not begun.
  public init() {}

  /// Begins the shutdown; a second call changes nothing.
  ///
  /// - Parameter timeout: how long the handlers may take.
  public func begin(timeout: Duration = .seconds(30)) {
    let deadline = ContinuousClock.now + timeout
    let callbacks = state.withLock { state in
      guard state.deadline == nil else { return [@Sendable (ContinuousClock.Instant) -> Void]() }
      state.deadline = deadline
      return Array(state.begun.values)
    }
    for callback in callbacks {
      callback(deadline)
    }
  }

  /// Whether the shutdown has begun.
  public var hasBegun: Bool {
    state.withLock { $0.deadline != nil }
  }

  /// Calls `body` once when the shutdown begins, at once if it has.
  func onBegin(_ body: @escaping @Sendable (ContinuousClock.Instant) -> Void) -> UInt64 {
    let (id, deadline) = state.withLock { state in
      state.lastID += 1
      if state.deadline == nil {
        state.begun[state.lastID] = body
      }
      return (state.lastID, state.deadline)
    }
    if let deadline {
      body(deadline)
    }
    return id
  }

  func forget(_ id: UInt64) {
    state.withLock { _ = $0.begun.removeValue(forKey: id) }
  }
}
