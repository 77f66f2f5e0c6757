extension EventBase {
  /// Runs the loop on this thread while `body` runs as a task on it; returns or throws what `body` does.
  ///
  /// For a program's main thread. Inside, ``current`` is this event base. ``stop()`` does not end it: the body
  /// does. Not to be called by what runs on a loop already: it would wait for itself.
  public func run<Success: Sendable>(
    _ body: @escaping @Sendable () async throws -> Success
  ) throws -> Success {
    precondition(!engine.isOwner, "EventBase.run(_:) was called on the thread that runs this event base")
    let outcome = Outcome<Success>()
    Task(executorPreference: taskExecutor) {
      do {
        outcome.set(.success(try await body()))
      } catch {
        outcome.set(.failure(error))
      }
      self.stop()
    }
    while true {
      run()
      if let result = outcome.get() {
        return try result.get()
      }
    }
  }

  /// Runs a loop on a thread of its own while `body` runs as a task on it, and joins the thread.
  ///
  /// - Parameter body: is given the event base, on its thread. It waits for the tasks it starts: one that is
  ///   still suspended when it returns has no loop to go on with.
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
    let thread = try await LoopThread.start()
    let task = Task(executorPreference: thread.base.taskExecutor) {
      try await body(thread.base)
    }
    let result = await withTaskCancellationHandler {
      await task.result
    } onCancel: {
      task.cancel()
    }
    await thread.stopAndJoin()
    return try result.get()
  }

  /// Suspends the calling task, on this loop's monotonic clock.
  ///
  /// - Throws: `CancellationError` when the task is cancelled before the time has passed.
  ///
  /// ## Cancellation
  ///
  /// Ends the sleep at the next turn of the loop.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on this event base.
  public func sleep(for duration: Duration) async throws(CancellationError) {
    engine.assertOnLoopThread()
    let sleeper = Sleeper()
    let timer = LoopTimer(engine, after: duration) { sleeper.parking.wake(.ready)?.resume() }
    let wakening = await engine.suspend(on: sleeper, wait: sleeper.parking.begin()) {
      unsafe sleeper.parking.park($0)?.resume()
    }
    withExtendedLifetime(timer) {}
    if wakening == .cancelled {
      throw CancellationError()
    }
  }
}

private final class Sleeper: CancellableWait {
  var parking = Parking()

  func cancelWait(_ wait: UInt32) {
    parking.cancel(wait)?.resume()
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

/// A thread that makes an event base and runs it until told to stop.
private final class LoopThread: Sendable {
  let base: EventBase
  private let thread: SystemThread
  private let progress: Progress

  /// What the thread tells. The base goes through a lock, so that making it visibly comes before using it.
  private struct Progress: Sendable {
    let base = Locked<EventBase?>(nil)
    let end = Latch()
  }

  private init(base: EventBase, thread: SystemThread, progress: Progress) {
    self.base = base
    self.thread = thread
    self.progress = progress
  }

  static func start() async throws -> LoopThread {
    let progress = Progress()
    let started = Locked<SystemThread?>(nil)
    try await withCheckedThrowingContinuation { continuation in
      started.withLock { started in
        started = SystemThread.start {
          do throws(SocketError) {
            let base = try EventBase()
            progress.base.withLock { $0 = base }
            continuation.resume()
            base.run()
          } catch {
            continuation.resume(throwing: error)
          }
          progress.end.open()
        }
        if started == nil { continuation.resume(throwing: SocketError.socketResource) }
      }
    }
    guard let thread = started.withLock({ $0 }), let base = progress.base.withLock({ $0 }) else {
      throw SocketError.socketResource
    }
    return LoopThread(base: base, thread: thread, progress: progress)
  }

  /// Waits for the thread's last line before joining, so that no thread of the pool blocks.
  func stopAndJoin() async {
    base.stop()
    await progress.end.wait()
    thread.join()
  }
}
