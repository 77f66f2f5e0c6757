internal import CLibevent

/// The loop's ear for signals that the process receives. The thread that runs the loop makes and ends it.
@safe final class SignalWatch {
  private var events: [OpaquePointer] = unsafe []
  private let action: () -> Bool

  /// Calls `action` on the loop's thread for each of these signals, until it returns false or the watch goes.
  ///
  /// Nil when libevent could not install a handler.
  init?(_ engine: EventEngine, _ signals: [CInt], action: @escaping () -> Bool) {
    self.action = action
    let context = unsafe Unmanaged.passUnretained(self).toOpaque()
    for signal in signals {
      let kind = Int16(CLIBEVENT_SIGNAL | CLIBEVENT_PERSIST)
      guard let event = unsafe event_new(engine.base, signal, kind, signalCame, context) else { return nil }
      unsafe events.append(event)
      guard unsafe event_add(event, nil) == 0 else { return nil }
    }
  }

  deinit {
    unsafe events.forEach { unsafe event_free($0) }
  }

  fileprivate func fire() {
    if !action() {
      // The signals do again what they did before.
      unsafe events.forEach { unsafe _ = event_del($0) }
    }
  }
}

private func signalCame(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  if let context = unsafe context {
    unsafe Unmanaged<SignalWatch>.fromOpaque(context).takeUnretainedValue().fire()
  }
}
