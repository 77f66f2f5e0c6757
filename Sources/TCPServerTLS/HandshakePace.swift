// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// Which handshakes may begin, by ``SSLServer/handshakeRate``, and which wait for that. Used on the server's loop
/// alone.
final class HandshakePace {
  /// Those that wait go on by a new rate at once.
  var rate: AcceptRate? {
    didSet {
      bucket = rate.map { HandshakeBucket($0, .now) }
      if waiting.count > 0 { beginWaiting() }
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
    guard waiting.count > 0 || bucket?.take(.now) == false && pause() else { return true }
    waiting.append(handshake)
    return false
  }

  /// - Parameter current: how many handshakes there are. Of those that wait, the others have ended.
  func forgetEnded(_ current: Int) {
    if waiting.count > 2 * current + 64 { waiting.removeAll { $0.isOver } }
  }

  /// For a server that has closed: those that wait have ended.
  func stop() {
    timer.stop()
    waiting = FirstInFirstOut()
  }

  /// - Returns: false where there is no memory for a timer: nothing would end the pause.
  private func pause() -> Bool {
    timer.interval = bucket?.wait(.now) ?? .zero
    guard timer.start() else { return false }
    pauses += 1
    return true
  }

  private func beginWaiting() {
    timer.stop()
    while let next = waiting.first {
      if !next.isOver, bucket?.take(.now) == false, pause() { return }
      _ = waiting.popFirst()
      if !next.isOver { begin(next) }
    }
  }
}
