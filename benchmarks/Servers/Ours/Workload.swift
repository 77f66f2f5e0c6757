// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// What the servers in C have in Servers/Protocol/workload.h: how many event loops, the work of a request, and a loop
/// that hangs now and then.
struct Workload: Sendable {
  /// Nothing but what the load is.
  static let none = Workload(burnRounds: 0)

  let loops = number("--loops") ?? 1
  let burnRounds: Int
  let policy = number("--policy")
  let ownAcceptor = CommandLine.arguments.contains("--own-acceptor")
  let distribution: Distribution =
    if CommandLine.arguments.contains("--shared-queue") {
      .sharedQueue
    } else if CommandLine.arguments.contains("--shards") {
      .shards
    } else {
      .leastConnections
    }
  private let stallPeriod = number("--stall-period") ?? 0
  private let stallTime = number("--stall-time") ?? 0
  private let stallLoop = number("--stall-loop")

  init(burnRounds: Int = number("--burn-rounds") ?? 0) {
    self.burnRounds = burnRounds
  }

  /// Makes one loop sleep now and then: the last, unless `--stall-loop` says which. The first one accepts.
  func startStalls(on loops: EventBaseGroup) {
    guard stallPeriod > stallTime else { return }
    stallLater(loops.eventBases[stallLoop ?? loops.eventBases.count - 1])
  }

  private func stallLater(_ loop: EventBase) {
    loop.schedule(after: .milliseconds(stallPeriod - stallTime)) {
      var time = timespec(tv_sec: stallTime / 1000, tv_nsec: stallTime % 1000 * 1_000_000)
      nanosleep(&time, nil)
      stallLater(loop)
    }
  }

  /// The work of a request, the same as in Servers/Protocol/workload.c.
  func burn() {
    guard burnRounds > 0 else { return }
    var value: UInt64 = 88_172_645_463_325_252
    for _ in 0..<burnRounds {
      value ^= value &<< 13
      value ^= value &>> 7
      value ^= value &<< 17
    }
    // Never so, which the compiler does not know.
    if value == 0 { say("0") }
  }
}

private func number(_ name: String) -> Int? {
  let arguments = CommandLine.arguments
  guard let index = arguments.firstIndex(of: name), index + 1 < arguments.count else { return nil }
  guard let number = Int(arguments[index + 1]), number >= 0 else { fatalError("\(name) needs a number") }
  return number
}
