// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// Which handshakes may begin, by ``SSLServer/handshakeRate``, and which wait for that. Used on the server's loop
/// alone.
final class HandshakePace {
  /// Those that wait go on by a new rate at once.
  var rate: AcceptRate? {
    didSet {
      bucket = rate.map { HandshakeBucket($0, .now) }
      if timer.isActive { beginWaiting() }
    }
  }
  private(set) var pauses: UInt64 = 0
  private var bucket: HandshakeBucket?
  private var waiting = FirstInFirstOut<Handshake>()
  private let timer: EventTimer
  /// Called for one that has waited.
  private let begin: (Handshake) -> Void

  init(on eventBase: EventBase?, begin: @escaping (Handshake) -> Void) {
    self.begin = begin
    timer = EventTimer(interval: .milliseconds(1), isSingleShot: true, eventBase: eventBase)
    timer.timeout.connect { [unowned self] in beginWaiting() }
  }

  /// - Returns: false where it is to wait.
  func mayBegin(_ handshake: Handshake) -> Bool {
    guard !handshake.hasBegun, bucket != nil else { return true }
    guard waiting.count > 0 || bucket?.take(.now) == false else {
      handshake.hasBegun = true
      return true
    }
    if waiting.count == 0 { pause() }
    waiting.append(handshake)
    return false
  }

  /// - Parameter current: how many handshakes there are. Of those that wait, the others have ended.
  func forgetEnded(_ current: Int) {
    if waiting.count > 2 * current + 64 { waiting.removeAll { $0.isOver } }
  }

  private func pause() {
    pauses += 1
    timer.interval = bucket?.wait(.now) ?? .zero
    timer.start()
  }

  private func beginWaiting() {
    timer.stop()
    while let next = waiting.first {
      if !next.isOver, bucket?.take(.now) == false { return pause() }
      _ = waiting.popFirst()
      guard !next.isOver else { continue }
      next.hasBegun = true
      begin(next)
    }
  }
}
