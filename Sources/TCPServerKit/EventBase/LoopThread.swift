// SPDX-License-Identifier: Apache-2.0

/// A thread that makes an event base and runs it until ``stopAndJoin()``.
final class LoopThread: Sendable {
  let base: EventBase
  private let thread: SystemThread
  private let progress: Progress

  /// What the thread reports. The base goes through a lock, so that making it visibly comes before using it.
  private struct Progress: Sendable {
    let base = Locked<EventBase?>(nil)
    /// Whether the thread is to end. The program's own ``EventBase/stop()`` must not end a loop whose tasks go on.
    let isJoining = Locked(false)
    let end = Latch()
  }

  private init(base: EventBase, thread: SystemThread, progress: Progress) {
    self.base = base
    self.thread = thread
    self.progress = progress
  }

  /// - Parameter cpu: the only one that the thread may run on; nil for any.
  static func start(on cpu: Int? = nil) async throws -> LoopThread {
    let progress = Progress()
    let started = Locked<SystemThread?>(nil)
    try await withCheckedThrowingContinuation { continuation in
      started.withLock { started in
        started = SystemThread.start {
          if let cpu { ProcessorSet.pinThread(to: [cpu]) }
          do throws(SocketError) {
            let base = try EventBase()
            // Before others give it tasks, which then have a loop.
            base.engine.willBegin()
            progress.base.withLock { $0 = base }
            continuation.resume()
            base.run(untilBodyEnded: { progress.isJoining.withLock { $0 } }, "EventBase.withThread(_:)")
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
    progress.isJoining.withLock { $0 = true }
    base.stop()
    await progress.end.wait()
    thread.join()
  }
}
