import TCPServerKit

/// Serves with signals and their handlers.
func handle(_ server: TCPServer, _ load: Load, _ drain: Drain?, registering: Bool) {
  server.newConnection.connect {
    guard let socket = server.nextPendingConnection() else { return }
    switch load {
    case .drain:
      if registering {
        socket.readyRead.connect { _ = socket.readAll() }
      }
      drain?.take(socket)
    case .storm:
      socket.write(greeting)
      socket.disconnectFromHost()
    case .echo:
      sendBack(socket)
    }
  }
}

func sendBack(_ socket: TCPSocket) {
  socket.readyRead.connect {
    socket.readAll { _ = socket.write($0) }
  }
}
