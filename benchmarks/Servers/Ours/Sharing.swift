// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// Serves on several loops by a TCPServerGroup.
func share(_ load: Load, _ workload: Workload, inTasks: Bool) throws {
  let drain = Drain(load)
  try EventBaseGroup.run(loops: workload.loops, accepting: workload.ownAcceptor ? .ownThread : .first) {
    loops in
    let server = TCPServerGroup(on: loops, distribution: workload.distribution) { server in
      if !inTasks { handle(server, load, drain, registering: false, workload) }
    }
    try await server.withServers { _, _ in }  // makes them
    server.pauseAccepting()
    try await server.listen(address: .localHost)
    begin(workload, on: loops, port: server.serverPort, drain)
    server.resumeAccepting()
    guard inTasks else { return await forever() }
    try await server.serve { try await serve($0, load, drain, workload) }
  }
}

private func begin(_ workload: Workload, on loops: EventBaseGroup, port: UInt16, _ drain: Drain?) {
  say("port \(port)")
  drain?.waitForStart()
  endWithStandardInput()
  workload.startStalls(on: loops)
}
