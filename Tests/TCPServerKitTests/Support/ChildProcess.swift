import Glibc

/// A program of this package, run as a child with its output on a socket.
final class ChildProcess {
  private var process: pid_t = 0
  private var output: CInt = -1

  /// Starts a program that lies beside the test bundle; nil when it cannot be started.
  init?(_ program: String, _ arguments: String...) {
    var ends: [CInt] = [-1, -1]
    let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else { return nil }
    output = ends[0]
    defer { close(ends[1]) }
    guard start([Self.folder + program] + arguments, output: ends[1]) else {
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
    let arguments = unsafe command.map { unsafe strdup($0) } + [nil]
    defer { unsafe arguments.forEach { unsafe free($0) } }
    return unsafe posix_spawn(&process, command[0], &actions, nil, arguments, environ) == 0
  }

  /// Where the running test bundle lies, and the package's programs with it.
  private static let folder: String = {
    let path = linkTarget(of: "/proc/self/exe")
    return String(path[...(path.lastIndex(of: "/") ?? path.startIndex)])
  }()

  /// A line of its output, within the limit of a test; what there is of one when the output has ended.
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
