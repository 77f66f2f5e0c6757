// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// How late a loop is, by a timer on it that is due ten times a second, and how much processor time its thread takes.
///
/// Begins and ends on the loop; any thread may read it, while the loop is stuck, too.
///
/// `@unchecked Sendable` because of this invariant: `event` is touched on the loop alone.
@safe package final class LoopMeter: @unchecked Sendable {
  /// What the meter has found by now.
  package struct Reading: Sendable {
    /// How often the timer was looked at.
    package var looks = 0
    /// By how many nanoseconds it was late at the latest looks, in their order.
    package var latest: [Int64] = []
    /// By how many nanoseconds it is overdue now: the loop is stuck.
    package var overdue: Int64 = 0
    /// Nanoseconds of processor time that the thread has had; nil where that cannot be read.
    package var processorTime: Int64?
    /// When it was read, in nanoseconds.
    package var time: Int64 = 0

    /// The lateness at each look since an earlier reading, as far as it was kept, the one that is overdue included.
    package func lateness(since earlier: Reading?) -> [Int64] {
      let kept = latest.suffix(max(looks - (earlier?.looks ?? 0), 0))
      return overdue > 0 ? kept + [overdue] : Array(kept)
    }

    /// Which part of the time since an earlier reading the thread has had a processor; nil where that is not known.
    package func busy(since earlier: Reading) -> Double? {
      guard let processorTime, let before = earlier.processorTime, time > earlier.time else { return nil }
      return min(max(Double(processorTime - before) / Double(time - earlier.time), 0), 1)
    }
  }

  private struct State {
    var looks = 0
    /// A ring: the look with number n is at n modulo its length.
    var latest = [Int64](repeating: 0, count: LoopMeter.mostKept)
    var due: Int64?
    var clock: clockid_t?
  }

  private static let interval: Int64 = 100_000_000  // nanoseconds
  private static let mostKept = 1024

  private let engine: EventEngine
  private var timer: CInt = -1
  private var event: OpaquePointer?
  private let state = Locked(State())

  init(_ engine: EventEngine) {
    self.engine = engine
  }

  /// On the loop. Keeps the meter until ``stop()``. Without memory or a descriptor for it the loop is not measured.
  func start() {
    guard unsafe event == nil else { return }
    timer = SystemCalls.openTimer()
    guard timer >= 0 else { return }
    let context = unsafe Unmanaged.passRetained(self)
    let events = Int16(CLIBEVENT_READ | CLIBEVENT_PERSIST)
    unsafe event = event_new(engine.base, timer, events, meterFired, context.toOpaque())
    guard let event = unsafe event, unsafe engine.add(event, timeout: nil) else {
      if let event = unsafe exchange(&event, with: nil) { unsafe event_free(event) }
      SystemCalls.closeDescriptor(timer)
      return unsafe context.release()
    }
    state.withLock { $0.clock = Clocks.ofThisThread() }
    wait()
  }

  /// On the loop.
  func stop() {
    guard let event = unsafe event else { return }
    unsafe event_free(event)
    unsafe self.event = nil
    SystemCalls.closeDescriptor(timer)
    state.withLock { $0.due = nil }
    unsafe Unmanaged.passUnretained(self).release()
  }

  private func wait() {
    state.withLock { $0.due = Clocks.monotonic() + Self.interval }
    SystemCalls.startTimer(timer, nanoseconds: Self.interval)
  }

  fileprivate func look() {
    state.withLock { state in
      guard let due = exchange(&state.due, with: nil) else { return }
      state.latest[state.looks % Self.mostKept] = max(Clocks.monotonic() - due, 0)
      state.looks += 1
    }
    wait()
  }

  /// From any thread.
  package var reading: Reading {
    state.withLock { state in
      let now = Clocks.monotonic()
      let kept = min(state.looks, Self.mostKept)
      return Reading(
        looks: state.looks,
        latest: (state.looks - kept..<state.looks).map { state.latest[$0 % Self.mostKept] },
        // One interval of grace: a timer that is a little late has its look soon.
        overdue: state.due.map { now - $0 > Self.interval ? now - $0 : 0 } ?? 0,
        processorTime: state.clock.flatMap(Clocks.nanoseconds),
        time: now
      )
    }
  }
}

private func meterFired(_: CInt, _: Int16, context: UnsafeMutableRawPointer?) {
  if let context = unsafe context {
    unsafe Unmanaged<LoopMeter>.fromOpaque(context).takeUnretainedValue().look()
  }
}
