// SPDX-License-Identifier: Apache-2.0

import ChildIsolation
import Glibc
import Testing

/// What the other tests rely on: the start of a child disturbs none of them. ChildIsolation.h says how.
@Suite("Children that are being started", .timeLimit(.minutes(5)))
struct IsolationTests {
  @Test("A child that has not come to its program yet keeps no connection open")
  func connectionsAreClosed() throws {
    try #require(child_isolation_is_active(), "the kernel allows no descriptor table of a thread's own")
    // The child opens both before its program begins, and waits at each for the other end.
    let arrived = try NamedPipe()
    let mayGoOn = try NamedPipe()
    var ends: [CInt] = [-1, -1]
    try #require(unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
    defer { close(ends[0]) }

    let (arrivedPath, mayGoOnPath) = (arrived.path, mayGoOn.path)
    let start = Background { startTrue(after: arrivedPath, mayGoOnPath) }
    let reading = unsafe open(arrivedPath, O_RDONLY | O_CLOEXEC)
    close(ends[1])
    #expect(Descriptors.receive(ends[0], maxLength: 1) == .end)
    let writing = unsafe open(mayGoOnPath, O_WRONLY | O_CLOEXEC)
    #expect(start.join() == 0)
    close(reading)
    close(writing)
  }

  @Test("A child has no descriptor of the tests, not even one that it would inherit")
  func descriptorsOfAChild() throws {
    let inheritable = Descriptors.stream()
    defer { close(inheritable) }
    let script = "test -e /proc/self/fd/1 && ! test -e /proc/self/fd/\(inheritable) && echo right"
    let child = try #require(ChildProcess(at: "/bin/sh", ["-c", script]))
    #expect(child.readLine() == "right\n")
  }
}

/// Starts a program between whose creation and beginning the pipes are opened.
private func startTrue(after arrived: String, _ mayGoOn: String) -> CInt {
  var actions = unsafe posix_spawn_file_actions_t()
  unsafe posix_spawn_file_actions_init(&actions)
  defer { unsafe posix_spawn_file_actions_destroy(&actions) }
  unsafe posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, arrived, O_WRONLY, 0)
  unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, mayGoOn, O_RDONLY, 0)
  let arguments = unsafe [strdup("/bin/true"), nil]
  defer { unsafe free(arguments[0]) }
  var process = pid_t()
  let failure = unsafe posix_spawn(&process, "/bin/true", &actions, nil, arguments, environ)
  guard failure == 0 else { return failure }
  var status: CInt = 0
  return unsafe waitpid(process, &status, 0) == process ? status : -1
}

/// A pipe with a name in a folder of its own.
private final class NamedPipe {
  let path: String
  private let folder: String

  init() throws {
    var template = Array("/tmp/tcpserverkit.XXXXXX".utf8CString)
    try #require(unsafe mkdtemp(&template) != nil)
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    path = folder + "/pipe"
    try #require(unsafe mkfifo(path, 0o600) == 0)
  }

  deinit {
    unsafe unlink(path)
    unsafe rmdir(folder)
  }
}
