// SPDX-License-Identifier: Apache-2.0

/// A loop's ear for signals that the process receives.
///
/// `@unchecked Sendable` because of this invariant: `watch` and `listener` change on the loop's thread alone; made and
/// released anywhere.
@safe final class SignalWatch: @unchecked Sendable {
  enum Answer {
    /// Done; the next signal is as the first.
    case done
    /// Begun; the signal counts among those that end a program which hangs.
    case begun
    /// The last signal that this watch wants. The signals do again what they did before.
    case finished
  }

  private let descriptor: CInt
  private var listener: SignalHub.Listener?
  private var watch: DescriptorWatch?
  private let action: () -> Answer

  /// Takes these signals from now on, from any thread; `action` is called for each, once ``start(on:)`` was called.
  ///
  /// Nil when one of them cannot be taken, or without descriptors.
  init?(_ signals: [CInt], endsHungProcess: Bool, action: @escaping @Sendable () -> Answer) {
    self.action = action
    descriptor = SystemCalls.openEventDescriptor()
    guard descriptor >= 0,
      let listener = SignalHub.add(signals, descriptor: descriptor, endsHungProcess: endsHungProcess)
    else { return nil }
    self.listener = listener
  }

  deinit {
    end()
    if descriptor >= 0 { SystemCalls.closeDescriptor(descriptor) }
  }

  /// On the loop's thread, which calls the action from now on.
  func start(on engine: EventEngine) {
    watch = DescriptorWatch(engine, descriptor, forWriting: false) { [unowned self] in fire() }
    if watch == nil { end() }
  }

  private func fire() {
    for _ in 0..<SystemCalls.takeCount(descriptor) where listener != nil {
      switch action() {
      case .done: listener?.answer(1)
      case .begun: break
      case .finished: end()
      }
    }
  }

  private func end() {
    watch?.stop()
    watch = nil
    if let listener { SignalHub.remove(listener) }
    listener = nil
  }
}
