// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A program of this package, run as a child with its output on a socket.
final class ChildProcess {
  private var process: pid_t = 0
  private var output: CInt = -1

  /// Starts a program that lies beside the test bundle; nil when it cannot be started.
  convenience init?(_ program: String, _ arguments: String...) {
    self.init(at: Self.folder + program, arguments)
  }

  /// The same with more in its environment, each as NAME=VALUE.
  convenience init?(_ program: String, environment: [String], _ arguments: String...) {
    self.init(at: "/usr/bin/env", environment + [Self.folder + program] + arguments)
  }

  /// Starts a program by its path; nil when it cannot be started.
  init?(at path: String, _ arguments: [String]) {
    var ends: [CInt] = [-1, -1]
    let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else { return nil }
    output = ends[0]
    defer { close(ends[1]) }
    guard start([path] + arguments, output: ends[1]) else {
      close(output)
      return nil
    }
  }

  deinit {
    close(output)
    if process > 0 {
      kill(process, SIGKILL)
      waitpid(process, nil, 0)
    }
  }

  private func start(_ command: [String], output: CInt) -> Bool {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    // A thread of a test may have blocked signals, which the child would inherit.
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let arguments = unsafe command.map { unsafe strdup($0) } + [nil]
    defer { unsafe arguments.forEach { unsafe free($0) } }
    return unsafe posix_spawn(&process, command[0], &actions, &attributes, arguments, environ) == 0
  }

  /// Where the running test bundle lies, and the package's programs with it.
  static let folder: String = {
    let path = linkTarget(of: "/proc/self/exe")
    return String(path[...(path.lastIndex(of: "/") ?? path.startIndex)])
  }()

  /// A line of its output, within the limit of a test that others may hold up; what there is of one when the output has ended.
  func readLine() -> String {
    var line: [UInt8] = []
    var entry = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
    while line.last != UInt8(ascii: "\n") {
      var byte: UInt8 = 0
      guard unsafe poll(&entry, 1, CInt(Loop.limit / .milliseconds(1))) == 1,
        unsafe read(output, &byte, 1) == 1
      else { break }
      line.append(byte)
    }
    return String(decoding: line, as: UTF8.self)
  }

  /// Whether it has not ended.
  var isRunning: Bool {
    guard process > 0 else { return false }
    guard waitpid(process, nil, WNOHANG) == process else { return true }
    process = 0
    return false
  }

  /// Sends it a signal.
  func send(_ signal: CInt) {
    if process > 0 { kill(process, signal) }
  }

  /// Waits, within the limit of a test, until a signal that was sent to it has reached one of its threads: two of a kind
  /// that wait are one.
  func waitUntilReceived(_ signal: CInt) {
    let deadline = ContinuousClock.now + Loop.limit
    let bit = UInt64(1) << UInt64(signal - 1)
    while ContinuousClock.now < deadline {
      let status = contents(of: "/proc/\(process)/status")
      let pending = status.split(separator: "\n").filter {
        $0.hasPrefix("ShdPnd:") || $0.hasPrefix("SigPnd:")
      }
      let masks = pending.compactMap { $0.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) } }
      if masks.allSatisfy({ $0 & bit == 0 }) { return }
      sched_yield()
    }
  }

  /// Asks it to end, with the children that it may have, and waits until all have.
  func terminate() {
    guard process > 0 else { return }
    kill(process, SIGTERM)
    while !readLine().isEmpty {}
  }

  /// Waits for its end, which closes the output.
  ///
  /// - Returns: the signal that ended it, 0 when it ended by itself, nil when it did not end within the limit.
  func waitForSignal() -> CInt? {
    guard readLine() == "" else { return nil }
    var status: CInt = 0
    guard unsafe waitpid(process, &status, 0) == process else { return nil }
    process = 0
    return status & 0x7f
  }
}
