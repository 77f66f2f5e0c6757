// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc
internal import Synchronization

/// The main actor and the main queue, where the program's main thread runs the loop.
///
/// Nothing else can serve them as long as that thread is here. libdispatch has an event descriptor for its main queue,
/// which CoreFoundation's run loop watches; the loop does the same, and needs no Foundation for it.
extension EventEngine {
  /// Watches the main queue if the main thread runs this loop from now on, and stops watching it otherwise.
  func watchMainQueue() {
    mainQueueWatch?.stop()
    mainQueueWatch = nil
    guard SystemThread.isMain else { return }
    // libdispatch opens it at the first call, and ends the process without a descriptor.
    let descriptor = SystemCalls.withDescriptors(1) { clibevent_main_queue_descriptor() }
    // Without libdispatch there is no main queue.
    if let descriptor, descriptor < 0 { return }
    mainQueueWatch = descriptor.flatMap { descriptor in
      DescriptorWatch(self, descriptor, forWriting: false) {
        SystemCalls.clear(descriptor)
        MainQueueProbe.runQueue()
      }
    }
    if mainQueueWatch != nil {
      MainQueueProbe.add()
    } else {
      // A lack of resources that passes; until then, all others are served.
      after(.milliseconds(100)) { [unowned self] in watchMainQueue() }
    }
  }

  /// Stops the program where the main actor or the main queue runs the caller, on a thread that is not the main one: it
  /// could not go on until the loop has ended.
  func requireMainQueueGoesOn(_ call: StaticString) {
    guard let label = unsafe clibevent_current_queue_label(),
      unsafe strcmp(label, "com.apple.main-thread") == 0,
      !SystemThread.isMain
    else { return }
    MainQueueProbe.stop(call)
  }
}

/// Something that the main queue runs, to see that it does.
private enum MainQueueProbe {
  private static let pending = Atomic(0)

  static func add() {
    pending.add(1, ordering: .relaxed)
    unsafe clibevent_main_queue_add(nil) { _ in _ = MainQueueProbe.pending.subtract(1, ordering: .relaxed) }
  }

  static func runQueue() {
    clibevent_main_queue_run()
    // It begins with what was added first, and runs nothing where it runs the caller.
    if pending.load(ordering: .relaxed) > 0 { stop("EventBase.run()") }
  }

  static func stop(_ call: StaticString) -> Never {
    fatalError(
      """
      \(call) was called by the main actor or the main queue, which could not go on before the loop ends. Call it \
      from the program's top level, or use EventBase.withThread(_:).
      """
    )
  }
}
