// SPDX-License-Identifier: Apache-2.0

internal import Glibc

extension SystemCalls {
  /// How a child has ended.
  enum End: Equatable {
    case exited(CInt)
    case signaled(CInt)
  }

  /// Starts a program. No signal is blocked in it, and none is ignored.
  ///
  /// - Parameters:
  ///   - arguments: with the name of the program.
  ///   - names: of the variables that are not in its environment.
  ///   - process: set to its number.
  /// - Returns: an errno, or 0.
  static func spawn(
    _ path: String,
    _ arguments: [String],
    without names: [String],
    _ process: inout pid_t
  ) -> CInt {
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    unsafe sigfillset(&signals)
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    let texts = unsafe arguments.map { unsafe strdup($0) }
    defer { unsafe texts.forEach { unsafe free($0) } }
    let variables = unsafe variables(without: names)
    return unsafe posix_spawn(&process, path, nil, &attributes, texts + [nil], variables + [nil])
  }

  private static func variables(without names: [String]) -> [UnsafeMutablePointer<CChar>?] {
    var variables: [UnsafeMutablePointer<CChar>?] = unsafe []
    var index = 0
    while let variable = unsafe environ[index] {
      let name = unsafe String(cString: variable).prefix { $0 != "=" }
      if !names.contains(String(name)) { unsafe variables.append(variable) }
      index += 1
    }
    return unsafe variables
  }

  /// Blocks until a child has ended, which is still to be reaped then: until that nothing else has its number.
  ///
  /// - Returns: nil when it is no child of this process, or was reaped elsewhere.
  static func waitForEnd(of process: pid_t) -> End? {
    var information = unsafe siginfo_t()
    while unsafe waitid(P_PID, id_t(process), &information, WEXITED | WNOWAIT) != 0 {
      if errno != EINTR { return nil }
    }
    let status = unsafe information._sifields._sigchld.si_status
    return unsafe information.si_code == CInt(CLD_EXITED) ? .exited(status) : .signaled(status)
  }

  static func reap(_ process: pid_t) {
    var status: CInt = 0
    unsafe waitpid(process, &status, WNOHANG)
  }
}
