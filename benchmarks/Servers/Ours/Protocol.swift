// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// What benchmarks/run asks for.
enum Load {
  case drain(Int)
  case storm
  case echo

  /// Ends the program with a usage text where the arguments are others.
  static func parse() -> Load {
    let arguments = CommandLine.arguments.dropFirst()
    switch (arguments.first, arguments.dropFirst().first.flatMap { Int($0) }) {
    case ("drain", let count?) where count > 0: return .drain(count)
    case ("storm", _): return .storm
    case ("echo", _): return .echo
    default:
      fatalError("usage: \(CommandLine.arguments[0]) drain N | storm | echo [OPTIONS]")
    }
  }
}

let greeting = "hello, stranger\n"

func say(_ line: String) {
  print(line)
  fflush(nil)
}

/// Ends the program with its standard input, a pipe. By a signal, because another thread would cost each system call
/// something.
func endWithStandardInput() {
  signal(SIGIO) { _ in _exit(0) }
  _ = fcntl(STDIN_FILENO, F_SETOWN, getpid())
  _ = fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_ASYNC)
}

/// The connections of a drain, and the time they took. Touched by one loop's thread alone, but also by tasks,
/// of which the compiler cannot know that they run there.
final class Drain: @unchecked Sendable {
  private let wanted: Int
  private var wall = 0
  private var cpu = 0
  private var count = 0
  private var sum = 0
  /// Reserved beforehand, as every server here does.
  private let kept: UnsafeMutablePointer<TCPSocket>

  /// Nil for other loads.
  init?(_ load: Load) {
    guard case .drain(let wanted) = load else { return nil }
    self.wanted = wanted
    kept = .allocate(capacity: wanted)
  }

  /// Waits for the line that lets accepting start.
  func waitForStart() {
    _ = readLine()
    wall = nanoseconds(CLOCK_MONOTONIC)
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID)
  }

  /// One connection is in the program's hands.
  func take(_ socket: TCPSocket) {
    guard count < wanted else { return }
    (kept + count).initialize(to: socket)
    count += 1
    let lastOctet = Int(socket.peerAddress.ipv4Number ?? 0) & 0xff
    sum += (lastOctet << 16) + Int(socket.peerPort)
    if count == wanted {
      let wall = nanoseconds(CLOCK_MONOTONIC) - wall
      let cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu
      say("drained \(wanted) \(wall) \(cpu) \(sum)")
    }
  }
}

private func nanoseconds(_ clock: clockid_t) -> Int {
  var time = timespec()
  clock_gettime(clock, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}
