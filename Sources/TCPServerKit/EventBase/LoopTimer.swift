// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// A one-shot timer on the loop's monotonic clock.
@safe final class LoopTimer {
  private let engine: EventEngine
  private var event: OpaquePointer?
  private let action: () -> Void

  /// Starts a timer; `action` runs on the loop's thread once `delay` has passed, unless the timer goes before.
  init(_ engine: EventEngine, after delay: Duration, action: @escaping () -> Void) {
    self.engine = engine
    self.action = action
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    unsafe event = event_new(engine.base, -1, 0, timerFired, context)
    restart(after: delay)
  }

  /// Starts it again, from now on.
  func restart(after delay: Duration) {
    let isAdded = unsafe event.map { unsafe engine.add($0, timeout: delay) } ?? false
    if !isAdded {
      // No memory for a timer: firing early is better than never.
      engine.enqueue { [weak self] in self?.fire() }
    }
  }

  deinit {
    if let event = unsafe event { unsafe event_free(event) }
  }

  fileprivate func fire() {
    engine.inCallback(action)
  }
}

private func timerFired(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  if let context = unsafe context {
    unsafe Unmanaged<LoopTimer>.fromOpaque(context).takeUnretainedValue().fire()
  }
}
