// SPDX-License-Identifier: Apache-2.0

/// A watchdog that barks when a loop is stuck.
extension ServiceNotifier {
  /// Gives the manager a sign of life every half of ``watchdogInterval``, while every one of the loops has answered since
  /// the last one; until the task is cancelled. Returns at once where the manager wants none.
  ///
  /// A loop answers when it runs a job. A handler that blocks its thread, or spins, keeps it from that, and the manager
  /// restarts the service as `WatchdogSec=` of its unit says. Call it in a task of the global pool:
  ///
  /// ```swift
  /// let watchdog = Task { await notifier?.pingWatchdog(whileAnswering: group) }
  /// defer { watchdog.cancel() }
  /// ```
  ///
  /// ## Cancellation
  ///
  /// Returns at once, also while a loop is stuck.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func pingWatchdog(whileAnswering eventBases: [EventBase]) async {
    guard let watchdogInterval else { return }
    while !Task.isCancelled {
      let answers = eventBases.map { base in
        let answer = Latch()
        base.execute { answer.open() }
        return answer
      }
      await withTaskCancellationHandler {
        for answer in answers { await answer.wait() }
      } onCancel: {
        for answer in answers { answer.open() }
      }
      guard !Task.isCancelled else { return }
      _ = send("WATCHDOG=1")
      try? await Task.sleep(for: watchdogInterval / 2, clock: .continuous)
    }
  }

  /// The same for the loops of a group, the one that accepts included.
  ///
  /// ## Cancellation
  ///
  /// Returns at once, also while a loop is stuck.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which may be any task on any executor.
  public func pingWatchdog(whileAnswering group: EventBaseGroup) async {
    await pingWatchdog(whileAnswering: group.eventBases + [group.acceptingEventBase])
  }
}
