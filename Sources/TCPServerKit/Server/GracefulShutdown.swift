/// Ends servers in order: from any thread, for any number of ``TCPServer/serve(maxConnections:shutdown:handler:)``
/// calls that were given it.
///
/// Each of them stops accepting, serves the clients that the kernel has already completed, lets its handlers
/// end, and cancels those that have not by the deadline. Servers whose connections are taken in other ways end
/// by ``TCPServer/finish(on:)``.
public final class GracefulShutdown: Sendable {
  /// The shutdown that `serve` was given, in its handlers and their child tasks; nil when it was given none.
  ///
  /// A handler that answers one request after the other looks between two of them whether it has begun.
  public static var current: GracefulShutdown? {
    given
  }

  @TaskLocal private static var given: GracefulShutdown?

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
    let deadline = ContinuousClock.now + timeout.limited
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

  /// Waits until the shutdown has begun; returns at once if it has.
  ///
  /// ## Cancellation
  ///
  /// Returns, so that ``hasBegun`` tells what happened.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func waitUntilBegun() async {
    let latch = Latch()
    let id = onBegin { _ in latch.open() }
    await withTaskCancellationHandler {
      await latch.wait()
    } onCancel: {
      latch.open()
    }
    forget(id)
  }

  /// Runs `body` with `shutdown` as ``current``, if there is one.
  static func with(_ shutdown: GracefulShutdown?, _ body: () async -> Void) async {
    guard let shutdown else { return await body() }
    await $given.withValue(shutdown, operation: body)
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
