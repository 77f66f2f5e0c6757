// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// Serves on several loops by a TCPServerGroup.
func share(_ load: Load, _ workload: Workload, inTasks: Bool) throws {
  let drain = Drain(load)
  try EventBaseGroup.run(loops: workload.loops, accepting: workload.ownAcceptor ? .ownThread : .first) {
    loops in
    let server = TCPServerGroup(on: loops) { server in
      if !inTasks { handle(server, load, drain, registering: false, workload) }
    }
    try await server.withAcceptor { $0.pauseAccepting() }
    try await server.listen(address: .localHost)
    begin(workload, on: loops, port: server.serverPort, drain)
    try await server.withAcceptor { $0.resumeAccepting() }
    guard inTasks else { return await forever() }
    try await server.serve { try await serve($0, load, drain, workload) }
  }
}

/// The same with a duplicate of the listening socket on each loop, to be compared with it: an idle loop takes the next
/// connection itself.
func shareQueue(_ load: Load, _ workload: Workload) throws {
  try EventBaseGroup.run(loops: workload.loops) { loops in
    let first = TCPServer()
    guard first.listen(address: .localHost) else { throw StartFailure(reason: first.errorString) }
    let descriptor = first.socketDescriptor
    begin(workload, on: loops, port: first.serverPort, nil)
    try await withThrowingTaskGroup { tasks in
      for loop in loops.eventBases {
        tasks.addTask(executorPreference: loop.taskExecutor) {
          let server = loop === loops.eventBases[0] ? first : TCPServer(eventBase: loop)
          if server !== first { server.setSocketDescriptor(dup(descriptor)) }
          // One a turn, so that loops that are idle get their share.
          server.acceptBatchSize = 1
          try await server.serve { try await serve($0, load, nil, workload) }
        }
      }
      try await tasks.waitForAll()
    }
  }
}

private func begin(_ workload: Workload, on loops: EventBaseGroup, port: UInt16, _ drain: Drain?) {
  say("port \(port)")
  drain?.waitForStart()
  endWithStandardInput()
  workload.startStalls(on: loops)
}
