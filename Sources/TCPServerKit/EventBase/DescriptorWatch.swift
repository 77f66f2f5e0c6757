// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// Events of one descriptor. Its owner is the caller, who closes it only after ``stop()``.
@safe final class DescriptorWatch {
  private unowned let engine: EventEngine
  private var event: OpaquePointer?
  private let action: () -> Void
  private let process = getpid()

  /// Calls `action` on the loop's thread at each turn in which the descriptor is ready, until the watch goes.
  ///
  /// Nil when the loop cannot watch it.
  init?(_ engine: EventEngine, _ descriptor: CInt, forWriting: Bool, action: @escaping () -> Void) {
    self.engine = engine
    self.action = action
    let events = Int16((forWriting ? CLIBEVENT_WRITE : CLIBEVENT_READ) | CLIBEVENT_PERSIST)
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    unsafe event = event_new(engine.base, descriptor, events, descriptorReady, context)
    guard let event = unsafe event, unsafe event_add(event, nil) == 0 else { return nil }
  }

  deinit {
    stop()
  }

  /// Takes the descriptor off the loop. Before it is closed: the next one to have its number would not be watched.
  /// Letting go of the watch is not enough within its own action, which it outlives.
  ///
  /// Not in a forked child, whose epoll is its parent's own: there it would take the parent's off.
  func stop() {
    if let event = unsafe event, getpid() == process { unsafe event_free(event) }
    unsafe event = nil
  }

  fileprivate func fire() {
    engine.inCallback(action)
  }
}

private func descriptorReady(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  if let context = unsafe context {
    unsafe Unmanaged<DescriptorWatch>.fromOpaque(context).takeUnretainedValue().fire()
  }
}
