// Small programs whose loop runs on the main thread, or that receive signals: what a test within a process of its own
// has to look at. Each says what happens, a line at a time.

import Dispatch
import Glibc
import TCPServerKit

/// Past the buffer of stdout, which dies with the process.
nonisolated func say(_ line: String) {
  let line = line + "\n"
  unsafe _ = write(STDOUT_FILENO, line, line.utf8.count)
}

let programs: [String: () throws -> Void] = [
  "main-thread-tasks": mainThreadTasks,
  "main-thread-body": mainThreadBody,
  "main-thread-turns": mainThreadTurns,
  "main-thread-adopted": mainThreadAdopted,
  "main-thread-moves": mainThreadMoves,
  "in-main-queue": inMainQueue,
  "idle": idle,
  "stuck-shutdown": { try stuck(stopping: false) },
  "stuck-stop": { try stuck(stopping: true) },
  "two-loops": twoLoops,
  "answered": answered,
  "child": signalInChild,
  "restored": restored,
  "off-loop": offLoop,
  "off-loop-members": offLoopMembers,
]

// A test's own limit is shorter. Nothing that hangs outlives it by much.
alarm(100)
guard let name = CommandLine.arguments.dropFirst().first, let program = programs[name] else {
  say("programs: \(programs.keys.sorted().joined(separator: " "))")
  exit(1)
}
try program()
say("end")
