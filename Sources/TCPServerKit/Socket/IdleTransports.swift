// SPDX-License-Identifier: Apache-2.0

/// Looks after the buffers of the encrypted connections of a loop: those of a connection on which nothing has moved for one
/// to two seconds are freed, and made again with its next byte. An idle connection would hold 34 KiB otherwise, and
/// freeing them after each message would cost an allocation for each.
///
/// It keeps transports, and no sockets: one that is released is closed at once.
final class IdleTransports {
  private var busy: [TransportSlot] = []
  /// Made once: a busy loop starts it each second.
  private var timer: LoopTimer?
  private var isStarted = false

  private static let interval: Duration = .seconds(1)

  /// Something has moved on a connection that was not among the busy ones.
  func add(_ slot: TransportSlot, _ engine: EventEngine) {
    slot.place = Int32(busy.count)
    busy.append(slot)
    if !isStarted { start(engine) }
  }

  /// The connection has ended.
  func remove(_ slot: TransportSlot) {
    let place = exchange(&slot.place, with: -1)
    guard place >= 0, let last = busy.popLast(), last !== slot else { return }
    busy[Int(place)] = last
    last.place = place
  }

  private func start(_ engine: EventEngine) {
    isStarted = true
    if let timer { return timer.restart(after: Self.interval) }
    timer = LoopTimer(engine, after: Self.interval) { [unowned self, unowned engine] in
      isStarted = false
      look()
      if !busy.isEmpty { start(engine) }
    }
  }

  private func look() {
    for slot in busy.reversed() {
      if exchange(&slot.isUsed, with: false) { continue }
      slot.transport.releaseBuffers()
      remove(slot)
    }
  }
}
