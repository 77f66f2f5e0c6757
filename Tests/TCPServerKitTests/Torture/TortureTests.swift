// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Every system call of a scenario fails, in every documented way: each failure is reported or has no consequence,
/// the accounts balance, no descriptor is lost or closed twice, no task waits for ever, and the next client is served.
///
/// With `TORTURE=all` in the environment each call of each place fails, once, 20 times and for ever; without, the first
/// call of each place fails once.
@Suite("Torture", .blocking, .serialized)
struct TortureTests {
  private static let isComplete = unsafe getenv("TORTURE").map { unsafe String(cString: $0) } == "all"
  private static let modes: [(name: String, count: CInt)] =
    isComplete ? [("once", 1), ("20 times", 20), ("for ever", -1)] : [("once", 1)]

  private struct Plan: Sendable {
    var call: fault_call
    var nth: CInt
    var errnum: CInt
    var count: CInt
  }

  @Test("Whatever call fails", arguments: TortureScenario.all)
  func survives(_ scenario: TortureScenario) {
    // On a thread of its own: an event base that another test has made on this one may end at any time, and so be
    // closed by the code that looks for the thread's event base.
    for trouble in Background({ Self.troubles(of: scenario) }).join() {
      Issue.record("\(trouble)")
    }
  }

  @Test(
    "Whatever call fails of an encrypted life",
    .enabled(if: Certificates.canBeMade),
    arguments: TortureScenario.encrypted
  )
  func survivesEncrypted(_ scenario: TortureScenario) {
    survives(scenario)
  }

  private static func troubles(of scenario: TortureScenario) -> [String] {
    silenceLibevent()
    let watchdog = Watchdog()
    defer { watchdog.end() }
    watchdog.begin("\(scenario.name), nothing fails")
    _ = play(scenario, nil)  // what is opened once for all
    fault_record_sites(true, 5)
    var troubles = play(scenario, nil).map { ["\(scenario.name): \($0)"] } ?? []
    fault_record_sites(false, 0)
    let calls = tortureErrnos.map { (count: fault_calls($0.call), call: $0.call, errnos: $0.errnos) }
    var places = 0
    var pairs = 0
    var runs = 0
    for (count, call, errnos) in calls {
      var seen: Set<UInt64> = []
      for nth in 1...max(count, 1) where nth <= count {
        let isNew = seen.insert(fault_site(call, nth)).inserted
        places += isNew ? 1 : 0
        pairs += isNew ? errnos.count : 0
        guard isNew || isComplete else { continue }
        for errnum in errnos {
          for mode in modes where mode.count > 0 || !isPointlessForEver(call, errnum) {
            let plan = Plan(call: call, nth: CInt(nth), errnum: errnum, count: mode.count)
            let name = unsafe String(cString: fault_call_name(call))
            let text = unsafe String(cString: strerror(errnum))
            let what = "\(scenario.name): \(name) number \(nth) fails \(mode.name) with \(text)"
            watchdog.begin(what)
            runs += 1
            if let trouble = play(scenario, plan) {
              troubles.append("\(what): \(trouble)")
            }
          }
        }
      }
    }
    print(
      "torture: \(scenario.name): \(pairs) pairs of a place and an errno at \(places) places in \(runs) runs"
    )
    return troubles
  }

  /// - Returns: what the judge objects to.
  private static func play(_ scenario: TortureScenario, _ plan: Plan?) -> String? {
    let run = TortureRun()
    fault_clear()
    fault_reset_counts()
    fault_stop_clock()
    fault_skip_waits(true)
    fault_watch_closes(true)
    if let plan {
      fault_fail(plan.call, plan.nth, plan.count, plan.errnum)
    }
    do {
      try scenario.play(run)
    } catch let error as SocketError {
      run.tell("thrown", error, "\(error)")
    } catch {
      run.object("thrown: \(error)")
    }
    fault_clear()
    run.judge()
    run.end()
    if fault_bad_closes() > 0 {
      run.object(unsafe String(cString: fault_bad_close_text()))
    }
    if fault_open_descriptors() > 0 {
      run.object("\(fault_open_descriptors()) descriptors left open")
    }
    fault_watch_closes(false)
    fault_skip_waits(false)
    fault_reset_clock()
    return run.trouble
  }
}

/// It prints what injected faults do to it. The library has no use for this call, so it is not declared there.
private func silenceLibevent() {
  typealias Log = @convention(c) (CInt, UnsafePointer<CChar>?) -> Void
  typealias SetLog = @convention(c) (Log) -> Void
  guard let symbol = unsafe dlsym(nil, "event_set_log_callback") else { return }
  unsafe unsafeBitCast(symbol, to: SetLog.self)({ _, _ in })
}

/// Says which run does not end, and ends the process: nothing else could.
private final class Watchdog: Sendable {
  private struct State {
    var what = ""
    var runs = 0
    var isOver = false
  }

  /// In tenths of a second.
  private static let limit = 300
  private let state = Locked(State())
  private let thread = Locked<OtherThread?>(nil)

  init() {
    thread.withLock { $0 = OtherThread { [self] in watch() } }
  }

  func begin(_ what: String) {
    state.withLock {
      $0.what = what
      $0.runs += 1
    }
  }

  func end() {
    state.withLock { $0.isOver = true }
    // Let go of, since it holds this object.
    let thread = thread.withLock { exchange(&$0, with: nil) }
    thread?.join()
  }

  private func watch() {
    var runs = 0
    var moments = 0
    while true {
      usleep(100_000)
      let now = state.withLock { $0 }
      guard !now.isOver else { return }
      moments = now.runs == runs ? moments + 1 : 0
      runs = now.runs
      if moments > Self.limit {
        // Past the buffers of a library that is stuck.
        let text = "does not end: \(now.what)\n"
        _ = unsafe write(STDERR_FILENO, text, text.utf8.count)
        abort()
      }
    }
  }
}
