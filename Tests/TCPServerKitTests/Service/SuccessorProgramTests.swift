// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// A process that starts the one that is to take its place.
@Suite("A successor that is started", .timeLimit(.minutes(5)))
struct SuccessorProgramTests {
  /// What became of the processes that were started.
  private final class Failures: Sendable {
    let all = Locked<[SuccessorProgram.Failure]>([])

    func program(
      _ path: String,
      _ arguments: [String] = [],
      timeout: Duration = .seconds(60)
    ) -> SuccessorProgram {
      SuccessorProgram(path: path, arguments: arguments, timeout: timeout) { failure in
        self.all.withLock { $0.append(failure) }
      }
    }

    func next() async throws -> SuccessorProgram.Failure {
      try await until { self.all.withLock { !$0.isEmpty } }
      return all.withLock { $0.removeFirst() }
    }
  }

  private let failures = Failures()

  private static func isAlive(_ process: CInt) -> Bool {
    kill(process, 0) == 0
  }

  @Test(
    "One that ends before it is ready is a failure, and the next may be started",
    arguments: [
      ("exit 3", SuccessorProgram.Failure.exited(status: 3)),
      ("exit 0", .exited(status: 0)),
      ("kill -s SEGV $$", .signaled(SIGSEGV)),
    ]
  )
  func fails(script: String, failure: SuccessorProgram.Failure) async throws {
    let program = failures.program("/bin/sh", ["-c", script])
    for _ in 0..<2 {
      #expect(program.process == nil)
      #expect(try program.start())
      #expect(try await failures.next() == failure)
    }
  }

  @Test("One that hangs is killed when its time is over")
  func hangs() async throws {
    let program = failures.program("/bin/sleep", ["1000"], timeout: .milliseconds(1))
    try program.start()
    #expect(try await failures.next() == .timedOut)
    #expect(program.process == nil)
  }

  @Test("By default it has the arguments of this process")
  func sameArguments() async throws {
    let folder = try TemporaryFolder()
    let (script, output) = (folder.path(of: "program"), folder.path(of: "arguments"))
    // Written by another process: what is open for writing, here or in a child of another test, cannot be started.
    let text = "#!/bin/sh\nprintf '%s\\n' \"$@\" > \(output)\n"
    var writer = pid_t()
    let commands = "cat > '\(script)' << 'END'\n\(text)END\nchmod +x '\(script)'"
    #expect(SystemCalls.spawn("/bin/sh", ["sh", "-c", commands], without: [], &writer) == 0)
    _ = SystemCalls.waitForEnd(of: writer)
    SystemCalls.reap(writer)
    let program = SuccessorProgram(path: script) { [failures] failure in
      failures.all.withLock { $0.append(failure) }
    }
    try program.start()
    #expect(try await failures.next() == .exited(status: 0))
    let arguments = CommandLine.arguments.dropFirst().map { $0 + "\n" }
    #expect(contents(of: output) == (arguments.isEmpty ? "\n" : arguments.joined()))
  }

  @Test("There is one at a time")
  func one() async throws {
    let program = failures.program("/bin/sleep", ["1000"])
    #expect(try program.start())
    let process = try #require(program.process)
    #expect(try !program.start())
    #expect(program.process == process)
    kill(process, SIGTERM)
    #expect(try await failures.next() == .signaled(SIGTERM))
  }

  @Test("One that cannot be started is an error at once")
  func missing() {
    let program = failures.program("/nowhere/program")
    #expect(throws: SuccessorProgram.Failure.notStarted(errno: ENOENT)) { try program.start() }
    #expect(program.process == nil)
    #expect(failures.all.withLock { $0 } == [])
  }

  @Test("When another process is ready first it is killed")
  func overtaken() async throws {
    let program = failures.program("/bin/sleep", ["1000"])
    try program.start()
    #expect(program.isReady(getpid()))
    #expect(try await failures.next() == .overtaken)
    #expect(program.isReady(getpid()))
  }

  @Test("One that was killed while it said that it is ready takes no one's place")
  func killedWhenReady() async throws {
    let program = failures.program("/bin/sleep", ["1000"])
    try program.start()
    let process = try #require(program.process)
    #expect(program.isReady(getpid()))
    // Whether its end has been seen or not.
    #expect(!program.isReady(process))
    #expect(try await failures.next() == .overtaken)
    #expect(!program.isReady(process))
    #expect(program.isReady(getpid()))
    #expect(try program.start())
    let next = try #require(program.process)
    #expect(program.isReady(next))
    kill(next, SIGKILL)
    try await until { program.process == nil }
  }

  @Test("Once it is ready nothing ends it, and its own end is no failure")
  func ready() async throws {
    let program = failures.program("/bin/sleep", ["1000"], timeout: .seconds(2))
    var ready: CInt?
    while ready == nil {
      try await until { program.process == nil }
      try program.start()
      // Nil for one whose time was over before this test went on.
      ready = program.process.flatMap { program.isReady($0) ? $0 : nil }
    }
    let process = try #require(ready)
    // Past its time.
    try await Task.sleep(for: .seconds(3))
    #expect(Self.isAlive(process))
    #expect(program.process == process)
    kill(process, SIGKILL)
    try await until { program.process == nil }
    #expect(failures.all.withLock { $0.allSatisfy { $0 == .timedOut } })
  }

  @Test("The process that is waited for is ready by the hand-over")
  func handsOver() async throws {
    try await onLoops(1) { loops in
      let folder = try TemporaryFolder()
      let path = folder.path + "/control"
      defer { unsafe unlink(folder.path + "/control") }
      let server = TCPServerGroup(on: loops)
      try await server.listen(address: .localHost)
      let program = failures.program("/bin/sleep", ["1000"])
      try program.start()
      let waiting = Task {
        try await Successor.waitUntilReady(for: ["a": server], at: path, starting: program)
      }
      try await until { unsafe access(path, F_OK) == 0 }
      // This process is, and the one that was started is not.
      let predecessor = try #require(try await takeOver(at: path, into: InheritedSockets()))
      try predecessor.ready()
      _ = try await waiting.value
      #expect(try await failures.next() == .overtaken)
      server.close()
    }
  }

  @Test("A signal starts it, and says why it cannot")
  func signals() async throws {
    try await onLoop { base in
      let program = failures.program("/bin/sh", ["-c", "exit 5"])
      #expect(program.startOnSignals(SIGWINCH))
      kill(getpid(), SIGWINCH)
      let ended = try await failures.next()
      #expect(ended == .exited(status: 5))
      let missing = failures.program("/nowhere/program")
      #expect(missing.startOnSignals(SIGURG, eventBase: base))
      kill(getpid(), SIGURG)
      let notStarted = try await failures.next()
      #expect(notStarted == .notStarted(errno: ENOENT))
      #expect(!missing.startOnSignals(SIGKILL))
    }
    #expect(!failures.program("/bin/true").startOnSignals(SIGWINCH, eventBase: nil))
  }

  @Test(
    "Variables that are about one process are not in the environment of the other",
    arguments: [true, false]
  )
  func environment(isLeftOut: Bool) throws {
    var process = pid_t()
    let names = isLeftOut ? ["PATH"] : []
    #expect(SystemCalls.spawn("/usr/bin/printenv", ["printenv", "PATH"], without: names, &process) == 0)
    guard case .exited(let status) = SystemCalls.waitForEnd(of: process) else {
      Issue.record("It was ended by a signal")
      return
    }
    SystemCalls.reap(process)
    #expect(status == (isLeftOut ? 1 : 0))
    // It is no child any more.
    #expect(SystemCalls.waitForEnd(of: process) == nil)
  }

  @Test(
    "Each failure has a text",
    arguments: [
      (
        SuccessorProgram.Failure.notStarted(errno: ENOENT),
        "The successor cannot be started: No such file or directory"
      ),
      (.exited(status: 1), "The successor has ended with 1 before it was ready"),
      (.signaled(9), "The successor was ended by signal 9 before it was ready"),
      (.timedOut, "The successor was not ready in time, and was killed"),
      (.overtaken, "Another process was ready before the successor, which was killed"),
    ]
  )
  func texts(failure: SuccessorProgram.Failure, text: String) {
    #expect(failure.description == text)
  }

  @Test("However often it is asked for while the loop is busy, this process goes on")
  func asksWhileBusy() throws {
    let child = try #require(ChildProcess("LoopPrograms", "busy-at-reload"))
    #expect(child.readLine() == "stuck\n")
    for _ in 0..<4 {
      child.send(SIGHUP)
      child.waitUntilReceived(SIGHUP)
    }
    child.send(SIGUSR1)
    #expect(child.readLine() == "goes on\n")
    child.send(SIGKILL)
  }
}
