// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Serves with signals and their handlers.
func handle(_ server: TCPServer, _ load: Load, _ drain: Drain?, registering: Bool, _ workload: Workload) {
  server.newConnection.connect {
    guard let socket = server.nextPendingConnection() else { return }
    if case .drain = load {
      if registering {
        socket.readyRead.connect { _ = socket.readAll() }
      }
      drain?.take(socket)
    } else {
      answer(socket, load, workload)
    }
  }
}

/// Greets, or sends back what comes.
private func answer(_ socket: TCPSocket, _ load: Load, _ workload: Workload) {
  if case .storm = load {
    socket.write(greeting)
    socket.disconnectFromHost()
  } else {
    let sendBack = { socket.readAll { _ = socket.write($0) } }
    guard workload.burnRounds > 0 else { return _ = socket.readyRead.connect(sendBack) }
    socket.readyRead.connect {
      workload.burn()
      sendBack()
    }
  }
}
