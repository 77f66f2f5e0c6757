// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// Programs whose loop has the process's main thread, and programs that receive signals: Tests/LoopPrograms.
@Suite("Programs of their own", .blocking, .timeLimit(.minutes(5)))
struct LoopProgramTests {
  private static func lines(_ program: String, _ count: Int, _ arguments: [String] = []) throws -> [String] {
    let path = ChildProcess.folder + "LoopPrograms"
    let child = try #require(ChildProcess(at: path, [program] + arguments), "the program was not built")
    let lines = (0..<count).map { _ in String(child.readLine().dropLast()) }
    #expect(child.waitForSignal() == 0)
    return lines
  }

  @Test("EventBase.run() on the main thread serves the main actor and the main queue")
  func tasks() throws {
    #expect(
      try Self.lines("main-thread-tasks", 4) == ["top level's task", "handler's task", "main queue", "end"]
    )
  }

  @Test("So does run(_:): a handler that asks the main actor is answered")
  func body() throws {
    #expect(try Self.lines("main-thread-body", 2) == ["counted 3", "end"])
  }

  @Test("So do single turns")
  func turns() throws {
    #expect(try Self.lines("main-thread-turns", 2) == ["task", "end"])
  }

  @Test("So does a loop that the program runs by libevent")
  func adopted() throws {
    #expect(try Self.lines("main-thread-adopted", 2) == ["task; current: true", "end"])
  }

  @Test("A loop that another thread runs later leaves the main actor on the main thread")
  func moves() throws {
    #expect(try Self.lines("main-thread-moves", 2) == ["on the main thread: true", "end"])
  }

  @Test("An idle loop on the main thread does not wake up")
  func idle() throws {
    #expect(try Self.lines("idle", 2) == ["woke rarely", "end"])
  }

  @Test("Standard error names a loop that no thread runs, once a task waits for it")
  func notRun() throws {
    let child = try #require(ChildProcess("LoopPrograms", "not-run"))
    let line = child.readLine()
    #expect(
      line.hasPrefix("TCPServerKit: A task has waited for 2 seconds for an EventBase that no thread runs"),
      "\(line)"
    )
    #expect(child.isRunning)
  }

  @Test("Standard error names a server without an event base whose clients nothing waits for")
  func notServed() throws {
    let child = try #require(ChildProcess("LoopPrograms", "not-served"))
    let line = child.readLine()
    #expect(
      line.hasPrefix("TCPServerKit: A TCPServer without an EventBase has listened for 2 seconds"),
      "\(line)"
    )
    #expect(child.isRunning)
  }

  @Test("Standard error names no server that was waited for or has ended")
  func servedInTime() async throws {
    let server = TCPServer(eventBase: nil)
    func wait() { _ = server.waitForNewConnection() }
    for end in [wait, server.finish, server.close] {
      try #require(server.listen(address: .localHost))
      #expect(server.neverWaited != nil)
      end()
      #expect(server.neverWaited == nil)
      server.close()
    }
  }

  @Test("A warning that is released in time says nothing")
  func inTime() async throws {
    weak var released: LateWarning?
    do {
      let warning = LateWarning("a test's own")
      released = warning
      withExtendedLifetime(warning) {}
    }
    #expect(released == nil)
  }

  @Test("A loop that the main actor runs where it cannot be served stops the program")
  func inMainQueue() throws {
    let child = try #require(ChildProcess("LoopPrograms", "in-main-queue"))
    #expect(child.readLine() == "")
    #expect(child.waitForSignal() ?? 0 > 0)
  }

  /// In parts, because each member is called in a process of its own: all of them come near the limit of a test.
  @Test("Each public member does on another thread what its class in Executors.md says", arguments: 0..<4)
  func offLoop(part: Int) throws {
    #expect(try Self.lines("off-loop", 2, ["\(part)/4"]) == ["called all", "end"])
  }

  @Test(
    "The third signal ends a program whose loop hangs, or whose body goes on all the same",
    arguments: ["stuck-shutdown", "stuck-stop", "stuck-body"]
  )
  func stuck(program: String) throws {
    let child = try #require(ChildProcess("LoopPrograms", program))
    #expect(child.readLine() == "stuck\n")
    for signal in [SIGHUP, SIGINT] {
      child.send(signal)
      child.waitUntilReceived(signal)
    }
    #expect(child.isRunning)
    child.send(SIGTERM)
    #expect(child.waitForSignal() == SIGTERM)
  }

  @Test(
    "All loops and shutdowns that ask for a signal receive it, and it counts once for a shutdown of two loops"
  )
  func twoLoops() throws {
    let child = try #require(ChildProcess("LoopPrograms", "two-loops"))
    #expect(child.readLine() == "ready true\n")
    child.send(SIGTERM)
    #expect(child.readLine() == "second begun\n")
    #expect(child.readLine() == "first begun\n")
    #expect(child.readLine() == "shared begun true\n")
    #expect(child.readLine() == "end\n")
    #expect(child.waitForSignal() == 0)
  }

  @Test("Signals that a loop hears do not count, however many come")
  func answered() throws {
    #expect(try Self.lines("answered", 7) == (1...6).map { "stopped \($0)" } + ["end"])
  }

  @Test("In a child of fork() a signal does what it does by default, and the parent does not hear of it")
  func child() throws {
    #expect(try Self.lines("child", 3) == ["child ended by 15", "parent goes on", "end"])
  }

  @Test("With the last event base that asked for a signal, it does again what it did before")
  func restored() throws {
    let child = try #require(ChildProcess("LoopPrograms", "restored"))
    #expect(child.readLine() == "default true\n")
    #expect(child.readLine() == "default true\n")
    #expect(child.waitForSignal() == SIGUSR1)
  }

  @Test("No proxy of the environment is asked")
  func environment() throws {
    let proxies = ["ALL_PROXY", "all_proxy", "http_proxy", "HTTPS_PROXY"].map { $0 + "=socks5://127.0.0.1:1" }
    let child = try #require(ChildProcess("LoopPrograms", environment: proxies, "listens"))
    #expect(child.readLine() == "listens\n")
    #expect(child.readLine() == "connected\n")
  }
}
