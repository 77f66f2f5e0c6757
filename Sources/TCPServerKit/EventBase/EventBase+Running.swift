// SPDX-License-Identifier: Apache-2.0

extension EventBase {
  /// Runs the loop on this thread while `body` runs as a task on it; returns or throws what `body` does.
  ///
  /// For a program's main thread, where it serves the main actor and `DispatchQueue.main`, too. Inside, ``current`` is
  /// this event base. ``stop()`` does not end it: the body does. When that has returned, not
  /// where it throws or is cancelled, the loop goes on until the peers have what was written to them, or make no progress
  /// for ``TCPSocket/deliveryTimeout``. What ends a run in ``run()``, and what stops the program
  /// there, does so here; and the program stops when a handler or task of this event base calls it, because it would wait
  /// for itself.
  @available(*, noasync, message: "It blocks its thread: use EventBase.withThread(_:)")
  public func run<Success: Sendable>(
    _ body: @escaping @Sendable () async throws -> Success
  ) throws -> Success {
    guard !engine.isOwner else {
      fatalError(
        """
        EventBase.run(_:) was called by a handler or task of the same EventBase, which would wait for itself. Await \
        the body there, or start a task.
        """
      )
    }
    let outcome = Outcome<Success>()
    // The body is for this thread, and not for the one that runs what an earlier run has left.
    engine.willBegin()
    let task = Task(executorPreference: taskExecutor) {
      do {
        let value = try await body()
        await self.deliver()
        outcome.set(.success(value))
      } catch {
        outcome.set(.failure(error))
      }
      self.stop()
    }
    engine.body.begin { task.cancel() }
    defer { engine.body.end() }
    while true {
      run(untilBodyEnded: { outcome.get() != nil }, "EventBase.run(_:)")
      if let result = outcome.get() {
        return try result.get()
      }
    }
  }

  /// Runs a loop on a thread of its own while `body` runs as a task on it, and joins the thread. ``stop()`` does not
  /// end it: the body does. What was written is delivered then, as at the end of ``run(_:)``.
  ///
  /// - Parameter body: is given the event base, on its thread. It waits for the tasks it starts: one that waits
  ///   for a socket or connections when it returns, or later, gets an error.
  /// - Throws: what `body` throws; ``SocketError/socketResource`` when there is no thread or descriptor.
  ///
  /// ## Cancellation
  ///
  /// Cancels `body`; the call returns when that has ended and the thread was joined.
  ///
  /// ## Isolation
  ///
  /// `body` runs on the new thread, and the caller goes on where it was.
  public static func withThread<Success: Sendable>(
    _ body: @escaping @Sendable (EventBase) async throws -> Success
  ) async throws -> Success {
    try await withThread(on: nil, body)
  }

  /// - Parameter cpu: the only one that the thread may run on; nil for any.
  static func withThread<Success: Sendable>(
    on cpu: Int?,
    _ body: @escaping @Sendable (EventBase) async throws -> Success
  ) async throws -> Success {
    let thread = try await LoopThread.start(on: cpu)
    let task = Task(executorPreference: thread.base.taskExecutor) {
      let value = try await body(thread.base)
      await thread.base.deliver()
      return value
    }
    thread.base.engine.body.begin { task.cancel() }
    let result = await withTaskCancellationHandler {
      await task.result
    } onCancel: {
      task.cancel()
    }
    thread.base.engine.body.end()
    await thread.stopAndJoin()
    return try result.get()
  }

  /// What a body has written is delivered before its loop ends, unless the body was cancelled; see
  /// ``TCPSocket/deliveryTimeout``. On the loop, or from another one.
  func deliver() async {
    guard !Task.isCancelled, let resident = resident.withLock({ $0 }) else { return }
    await engine.run(preferring: loopTaskExecutor) { await resident.deliver() }
  }

  /// Suspends the calling task, on this loop's monotonic clock; from any task.
  ///
  /// - Throws: `CancellationError` when the task is cancelled before the time has passed.
  ///
  /// ## Cancellation
  ///
  /// Ends the sleep at the next turn of the loop.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does. From a task that is not on this event base, it goes there and comes back.
  public func sleep(for duration: Duration) async throws(CancellationError) {
    let result =
      engine.isOwner
      ? await sleepHere(for: duration)
      : await withTaskExecutorPreference(taskExecutor) { await sleepThere(for: duration) }
    if result == .cancelled {
      throw CancellationError()
    }
  }

  @concurrent
  private func sleepThere(for duration: Duration) async -> WaiterSlot.WakeReason {
    await sleepHere(for: duration)
  }

  private func sleepHere(for duration: Duration) async -> WaiterSlot.WakeReason {
    let end = ContinuousClock.now + duration.limited
    var reason = WaiterSlot.WakeReason.recheck
    if !engine.isRunningRest {
      let waiter = WaiterQueue.Waiter()
      waiter.begin()
      engine.sleepers[ObjectIdentifier(waiter)] = waiter
      let timer = LoopTimer(engine, after: duration) { waiter.wake(.ready) }
      reason = await engine.suspend(on: waiter)
      withExtendedLifetime(timer) {}
      engine.sleepers[ObjectIdentifier(waiter)] = nil
    }
    // The loop has ended, and its timers with it.
    while reason == .recheck {
      reason = (try? await Task.sleep(until: end, clock: .continuous)) == nil ? .cancelled : .ready
    }
    return reason
  }
}

private final class Outcome<Success: Sendable>: Sendable {
  private let result = Locked<Result<Success, any Error>?>(nil)

  func set(_ value: Result<Success, any Error>) {
    result.withLock { $0 = value }
  }

  func get() -> Result<Success, any Error>? {
    result.withLock { $0 }
  }
}
