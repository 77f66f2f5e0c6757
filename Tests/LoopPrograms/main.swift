// SPDX-License-Identifier: Apache-2.0

// Small programs whose loop runs on the main thread, that receive signals, or have an environment of their own: what a
// test within a process of its own has to look at. Each says what happens, a line at a time.

import Dispatch
import Glibc
import TCPServerKit

/// Past the buffer of stdout, which dies with the process.
nonisolated func say(_ line: String) {
  let line = line + "\n"
  unsafe _ = write(STDOUT_FILENO, line, line.utf8.count)
}

/// Without a loop: whether something of the environment sends it to a proxy.
func listens() {
  let server = TCPServer(eventBase: nil)
  say(server.listen(address: .localHost) ? "listens" : server.errorString)
  let client = TCPSocket(eventBase: nil)
  client.connectToHost(.localHost, port: server.serverPort)
  say(client.waitForConnected(msec: 60_000) ? "connected" : client.errorString)
}

/// An event base whose thread is missing: what standard error says. Ends with the test.
func notRun() throws {
  dup2(STDOUT_FILENO, STDERR_FILENO)
  let base = try EventBase()
  Task { try await base.sleep(for: .seconds(1)) }
  pause()
}

/// A server that was made where there is no event base.
func notServed() {
  dup2(STDOUT_FILENO, STDERR_FILENO)
  let server = TCPServer(eventBase: nil)
  server.newConnection.connect { say("never called") }
  _ = server.listen(address: .localHost)
  pause()
}

let programs: [String: () throws -> Void] = [
  "listens": listens,
  "main-thread-tasks": mainThreadTasks,
  "main-thread-body": mainThreadBody,
  "main-thread-turns": mainThreadTurns,
  "main-thread-adopted": mainThreadAdopted,
  "main-thread-moves": mainThreadMoves,
  "in-main-queue": inMainQueue,
  "idle": idle,
  "not-run": notRun,
  "not-served": notServed,
  "stuck-shutdown": { try stuck(stopping: false) },
  "stuck-stop": { try stuck(stopping: true) },
  "stuck-body": stuckBody,
  "busy-at-reload": busyAtReload,
  "two-loops": twoLoops,
  "answered": answered,
  "child": signalInChild,
  "restored": restored,
  "off-loop": offLoop,
  "off-loop-members": offLoopMembers,
  "inherited": inherited,
  "activated": activated,
  "activated-for-one": activatedForOne,
  "notifies": notifies,
]

// A test's own limit is shorter. Nothing that hangs outlives it by much.
alarm(250)
guard let name = CommandLine.arguments.dropFirst().first, let program = programs[name] else {
  say("programs: \(programs.keys.sorted().joined(separator: " "))")
  exit(1)
}
try program()
say("end")
