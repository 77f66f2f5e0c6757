// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// The event base of a thread, kept weakly: a thread-local must not keep a loop alive.
enum CurrentEventBase {
  private final class Box {
    weak var base: EventBase?
    /// The task that made it, where it is not the one that runs; 0 for none.
    var task: UInt64 = 0
    /// Of the objects that a task has made here without a loop: whether handlers wait for what only a loop could notice;
    /// nil once the object is gone.
    var waitForLoop: [(task: UInt64, test: () -> Bool?)] = []
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    unsafe pthread_key_create(&key) { box in
      if let box = unsafe box as UnsafeMutableRawPointer? {
        unsafe Unmanaged<Box>.fromOpaque(box).release()
      }
    }
    return key
  }()

  private static var existingBox: Box? {
    unsafe pthread_getspecific(key).map { unsafe Unmanaged<Box>.fromOpaque($0).takeUnretainedValue() }
  }

  private static var box: Box {
    if let box = existingBox {
      return box
    }
    let box = Box()
    unsafe pthread_setspecific(key, Unmanaged.passRetained(box).toOpaque())
    return box
  }

  /// The one that the thread runs; otherwise the one made first here, by the same task or outside of tasks: a thread of
  /// the global pool runs one task after the other.
  static func get() -> EventBase? {
    guard let box = existingBox, let base = box.base else { return nil }
    return base.engine.isOwner || box.task == currentTask ? base : nil
  }

  static func setIfNone(_ base: EventBase) {
    let box = box
    if box.base == nil || box.base?.engine.isOwner == false && box.task != currentTask {
      box.base = base
      box.task = currentTask
    }
  }

  /// Runs the loop of `base` on this thread.
  ///
  /// - Parameter call: as its documentation names it, for the text of a trap.
  static func run(_ base: EventBase, _ call: StaticString, _ body: () -> Void) {
    let box = box
    let (previous, task) = (box.base, box.task)
    if let previous, previous !== base, previous.engine.isOwner {
      fatalError(
        """
        \(call) was called by a handler or task of another EventBase, whose connections could not go on before it \
        returns. Run each EventBase on a thread of its own: EventBase.withThread(_:).
        """
      )
    }
    base.engine.requireMainQueueGoesOn(call)
    if !box.waitForLoop.isEmpty,
      box.waitForLoop.contains(where: { $0.task == currentTask && $0.test() == true })
    {
      fatalError(
        """
        \(call) was called while a TCPServer without an EventBase listens on this thread. The loop does not call its \
        handlers. Make the EventBase before the server, or pass it to the server.
        """
      )
    }
    box.base = base
    body()
    box.base = previous
    box.task = task
  }

  /// Runs `body` with `base` as the thread's event base.
  static func with(_ base: EventBase?, _ body: () -> Void) {
    guard let base else { return body() }
    let box = box
    let previous = box.base
    box.base = base
    body()
    box.base = previous
  }

  /// - Parameter test: whether an object without a loop has handlers that wait for one; nil once it is gone.
  static func addLoopless(_ test: @escaping () -> Bool?) {
    box.waitForLoop.removeAll { $0.test() == nil }
    box.waitForLoop.append((currentTask, test))
  }

  static var isInTask: Bool {
    currentTask != 0
  }

  private static var currentTask: UInt64 {
    unsafe clibevent_current_task().map { unsafe clibevent_task_number($0) } ?? 0
  }
}
