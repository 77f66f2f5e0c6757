// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// One of the examples, running as a process of its own. Nothing here waits longer than its limit.
///
/// Not Foundation's Process: its children inherit the pipes of those that run beside them, and the blocked
/// signals of the thread that starts them.
package final class Program {
  package static let limit: Duration = .seconds(60)
  /// Held from making pipes until they are close-on-exec and their child is started.
  private static let starting = Mutex(())

  package let process: pid_t
  private let output: ReadingEnd
  private let errors: ReadingEnd
  private var hasEnded = false

  /// Starts the program of that name that was built together with these tests.
  ///
  /// - Parameter descriptors: how many it may have (`ulimit -n`); nil leaves that as it is.
  package convenience init(_ name: String, _ arguments: [String], descriptors: Int? = nil) throws {
    let path = try Self.path(of: name)
    if let descriptors {
      try self.init(path: "/usr/bin/prlimit", ["--nofile=\(descriptors):", path] + arguments)
    } else {
      try self.init(path: path, arguments)
    }
  }

  /// Where the program of that name is that was built together with these tests.
  package static func path(of name: String) throws -> String {
    try folder() + name
  }

  /// Starts another program, by its path.
  package init(path program: String, _ arguments: [String]) throws {
    (process, output, errors) = try Self.starting.withLock { _ in
      let (output, outputInChild) = try makePipe()
      let (errors, errorsInChild) = try makePipe()
      defer {
        close(outputInChild)
        close(errorsInChild)
      }
      return (try Self.start(program, arguments, outputInChild, errorsInChild), output, errors)
    }
  }

  private static func start(
    _ program: String,
    _ arguments: [String],
    _ output: Int32,
    _ errors: Int32
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

    let texts = ([program] + arguments).map { strdup($0) }
    defer { texts.forEach { free($0) } }
    var process = pid_t()
    let failure = posix_spawn(&process, program, &actions, &attributes, texts + [nil], environ)
    guard failure == 0 else { throw SystemFailure(call: "posix_spawn \(program)", errnum: failure) }
    return process
  }

  deinit {
    if !hasEnded {
      kill(process, SIGKILL)
      waitpid(process, nil, 0)
    }
  }

  /// Where SwiftPM puts what it builds: the folder of the test program.
  private static func folder() throws -> String {
    guard let path = realpath("/proc/self/exe", nil) else {
      throw SystemFailure(call: "realpath", errnum: errno)
    }
    defer { free(path) }
    let executable = String(cString: path)
    return String(executable[...(executable.lastIndex(of: "/") ?? executable.startIndex)])
  }

  package func send(signal: Int32) {
    kill(process, signal)
  }

  /// How many descriptors the program has open.
  package func openDescriptors() throws -> Int {
    guard let folder = opendir("/proc/\(process)/fd") else {
      throw SystemFailure(call: "opendir", errnum: errno)
    }
    defer { closedir(folder) }
    var count = 0
    while let entry = readdir(folder) {
      // Not the folder itself and the one above.
      if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
    }
    return count
  }

  /// How long the program has run on processors, with the kernel's work for it.
  package func processorTime() throws -> Duration {
    var clock = clockid_t()
    var time = timespec()
    guard clock_getcpuclockid(process, &clock) == 0, clock_gettime(clock, &time) == 0 else {
      throw SystemFailure(call: "clock_getcpuclockid", errnum: errno)
    }
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }

  /// Waits until it has no more descriptors open than that: it may close one after its peer has seen the end.
  package func comesToDescriptors(atMost most: Int, within limit: Duration = limit) throws -> Bool {
    let deadline = ContinuousClock.now + limit
    while try openDescriptors() > most {
      guard ContinuousClock.now < deadline else { return false }
      usleep(1000)
    }
    return true
  }

  /// The next line of the standard output; nil at its end.
  package func nextLine(within limit: Duration = limit) throws -> String? {
    try output.line(until: .now + limit)
  }

  package struct End: Equatable {
    /// The exit status; nil when a signal ended the program.
    package var status: Int32?
    /// What the program printed that was not read before.
    package var output: String
    package var errors: String

    package init(status: Int32?, output: String, errors: String) {
      self.status = status
      self.output = output
      self.errors = errors
    }
  }

  /// Waits until the program ends.
  package func end(within limit: Duration = limit) throws -> End {
    let deadline = ContinuousClock.now + limit
    let printed = try output.rest(until: deadline)
    let complaints = try errors.rest(until: deadline)
    var status: Int32 = 0
    guard waitpid(process, &status, 0) == process else {
      throw SystemFailure(call: "waitpid", errnum: errno)
    }
    hasEnded = true
    let exited = status & 0x7f == 0
    return End(status: exited ? status >> 8 & 0xff : nil, output: printed, errors: complaints)
  }
}

/// A program printed something else than it should have.
package struct UnexpectedOutput: Error {
  package var line: String

  package init(line: String) {
    self.line = line
  }
}

/// Where a test may go without a program: not on a CI machine.
package func isInstalled(_ path: String) -> Bool {
  access(path, X_OK) == 0 || getenv("CI") != nil
}
