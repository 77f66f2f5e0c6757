import TCPServerKit

/// The end of the program, begun once from the main thread.
struct Ending: Sendable {
  /// How long connections may go on after a signal.
  static let grace: Duration = .seconds(3)

  /// For `serve`, which watches it by itself.
  let shutdown = GracefulShutdown()
  private let begun: AsyncStream<Never>
  private let continuation: AsyncStream<Never>.Continuation

  init() {
    (begun, continuation) = AsyncStream.makeStream()
  }

  func begin() {
    shutdown.begin(timeout: Self.grace)
    continuation.finish()
  }

  /// Waits until it begins or the task is cancelled. For one task.
  func wait() async {
    for await _ in begun {}
  }
}
