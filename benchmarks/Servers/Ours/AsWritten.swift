// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The echo as an author writes it who looks for no faster form; with `--once` a connection ends with its first answer.
enum AsWritten {
  static let isWanted = CommandLine.arguments.contains("--as-written")
  private static let isOnce = CommandLine.arguments.contains("--once")

  static func handle(_ server: TCPServer) {
    var clients: [ObjectIdentifier: TCPSocket] = [:]
    clients.reserveCapacity(8192)
    server.newConnection.connect {
      while let socket = server.nextPendingConnection() {
        clients[ObjectIdentifier(socket)] = socket
        socket.readyRead.connect { [unowned socket] in
          socket.write(socket.readAll())
          if isOnce { socket.disconnectFromHost() }
        }
        socket.disconnected.connect { [unowned socket] in
          clients[ObjectIdentifier(socket)] = nil
        }
      }
    }
  }

  static func serve(_ server: TCPServer) async throws {
    try await server.serve { socket in
      while let line = try await socket.readLine() {
        try await socket.write(line)
        if isOnce { return }
      }
    }
  }

  private static func echoLines(_ socket: TCPSocket) async throws {
    for try await line in socket.lines {
      try await socket.write(line + "\n")
    }
  }

  static func iterate(_ server: TCPServer) async throws {
    try await withThrowingDiscardingTaskGroup { group in
      for try await connection in server.incomingConnections {
        group.addTask {
          guard let socket = try? connection.socket() else { return }
          try? await echoLines(socket)
          await socket.closeGracefully()
        }
      }
    }
  }
}
