// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Handlers that actors connect. The compiler lets such a handler use what is the actor's, because it is not `Sendable`,
/// and the loop calls it while the actor may work on another thread.
extension ThreadConfinement {
  /// Says on standard error, once in a process, that a handler does not run in the actor that connects it.
  @inline(never)
  final func checkHandler(of actor: any Actor) {
    guard let engine = self as? EventEngine, !engine.excludes(actor),
      !hasWarned.exchange(true, ordering: .relaxed)
    else { return }
    SystemCalls.warn(
      """
      TCPServerKit: the actor \(type(of: actor)) connects a handler, which runs on the thread of the EventBase and not in \
      the actor: what both use is not safe. Give the actor the EventBase's serialExecutor, or connect in a nonisolated \
      function a handler that calls the actor in a Task.
      """
    )
  }
}

private let hasWarned = Atomic(false)

extension EventEngine {
  /// Whether no work of the actor runs beside the loop, on whose thread this is called. An actor that turns the loop
  /// itself does nothing else meanwhile, and the main actor is here with its thread.
  fileprivate func excludes(_ actor: any Actor) -> Bool {
    guard isRunning, !(actor is MainActor) else { return true }
    // The executor, which is the actor itself where it has no other, and how to compare it. Swift 6.2 has no call that
    // gives it.
    let (executor, _) = unsafe unsafeBitCast(actor.unownedExecutor, to: (AnyObject?, UInt).self)
    return (executor as? LoopSerialExecutor)?.engine === self
  }
}
