// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix

/// What the servers in C have in Servers/Protocol/workload.h: how many event loops, the work of a request, and a loop
/// that hangs now and then.
struct Workload {
  let loops = number("--loops") ?? 1
  let burnRounds = number("--burn-rounds") ?? 0
  private let stallPeriod = number("--stall-period") ?? 0
  private let stallTime = number("--stall-time") ?? 0
  private let stallLoop = number("--stall-loop")

  /// Makes one loop sleep now and then: the last, unless `--stall-loop` says which. The first loop accepts.
  func startStalls(of group: MultiThreadedEventLoopGroup) {
    guard stallPeriod > stallTime else { return }
    let loop = Array(group.makeIterator())[stallLoop ?? loops - 1]
    loop.scheduleRepeatedTask(
      initialDelay: .milliseconds(Int64(stallPeriod)),
      delay: .milliseconds(Int64(stallPeriod - stallTime))
    ) { [stallTime] _ in
      var time = timespec(tv_sec: stallTime / 1000, tv_nsec: stallTime % 1000 * 1_000_000)
      nanosleep(&time, nil)
    }
  }
}

/// The work of a request, the same as in Servers/Protocol/workload.c.
func scramble(_ start: UInt64, rounds: Int) -> UInt64 {
  var value = start
  for _ in 0..<rounds {
    value ^= value &<< 13
    value ^= value &>> 7
    value ^= value &<< 17
  }
  return value
}

private func number(_ name: String) -> Int? {
  let arguments = CommandLine.arguments
  guard let index = arguments.firstIndex(of: name), index + 1 < arguments.count else { return nil }
  guard let number = Int(arguments[index + 1]), number >= 0 else { fatalError("\(name) needs a number") }
  return number
}
