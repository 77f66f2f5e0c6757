// SPDX-License-Identifier: Apache-2.0

/// The loop as an executor of Swift's tasks.
///
/// Two objects on one loop, never one that is both: an executor cannot see in which role a job was queued, and
/// one with both roles makes the runtime queue each wake-up three times instead of once.
extension EventBase {
  /// Runs tasks on the loop's thread: what a task that serves connections prefers.
  ///
  /// Code that awaits a socket there resumes on the thread that saw the event, with one job and no thread hop.
  /// ``TCPServer/serve(maxConnections:shutdown:onError:handler:)`` sets this preference itself.
  public var taskExecutor: any TaskExecutor {
    loopTaskExecutor
  }

  /// Runs an actor on the loop's thread.
  ///
  /// The actor's `unownedExecutor` refers to it without keeping it alive, so the actor keeps the object. From a
  /// task that does not prefer ``taskExecutor``, each wake-up of an actor costs a hop from another thread.
  public var serialExecutor: any SerialExecutor {
    loopSerialExecutor
  }
}

final class LoopTaskExecutor: TaskExecutor {
  private let engine: EventEngine

  init(engine: EventEngine) {
    self.engine = engine
  }

  func enqueue(_ job: consuming ExecutorJob) {
    unsafe engine.post(.task(UnownedJob(job), asUnownedTaskExecutor()))
  }
}

final class LoopSerialExecutor: SerialExecutor {
  let engine: EventEngine

  init(engine: EventEngine) {
    self.engine = engine
  }

  func enqueue(_ job: consuming ExecutorJob) {
    unsafe engine.post(.actor(UnownedJob(job), asUnownedSerialExecutor()))
  }

  func isIsolatingCurrentContext() -> Bool? {
    engine.isOwner
  }

  func checkIsolated() {
    precondition(engine.isOwner, "This code runs on its EventBase's thread only")
  }
}
