// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Serves each connection in a task that `serve` starts.
func serve(_ server: TCPServer, _ load: Load, _ drain: Drain?, _ workload: Workload) async throws {
  switch load {
  case .drain:
    try await server.serve { socket in
      drain?.take(socket)
      await forever()
    }
  case .storm: try await server.serve(handler: greet)
  case .echo: try await server.serve { try await echo($0, workload) }
  }
}

/// A drain whose tasks wait for data, as those of programs do.
func serveWaiting(_ server: TCPServer, _ drain: Drain?) async throws {
  try await server.serve { socket in
    drain?.take(socket)
    _ = try await socket.read { _ in }
  }
}

/// What `serve` calls for each connection.
func serve(_ socket: TCPSocket, _ load: Load, _ drain: Drain?, _ workload: Workload) async throws {
  switch load {
  case .drain:
    drain?.take(socket)
    await forever()
  case .storm: try await greet(socket)
  case .echo: try await echo(socket, workload)
  }
}

/// Serves each connection in a task that the loop over the sequence starts.
func iterate(_ server: TCPServer, _ load: Load, _ drain: Drain?) async throws {
  try await withThrowingDiscardingTaskGroup { group in
    for try await connection in server.incomingConnections {
      group.addImmediateTask {
        guard let socket = try? connection.socket() else { return }
        // An error ends this connection only.
        switch load {
        case .drain:
          drain?.take(socket)
          await forever()
        case .storm: try? await greet(socket)
        case .echo: try? await echo(socket, .none)
        }
      }
    }
  }
}

func greet(_ socket: TCPSocket) async throws {
  try await socket.write(greeting)
  await socket.closeGracefully()
}

func echo(_ socket: TCPSocket, _ workload: Workload) async throws {
  guard workload.burnRounds == 0 else { return try await burnAndEcho(socket, workload) }
  while try await socket.read({ bytes in _ = socket.write(bytes) }) != nil {
    if socket.bytesToWrite >= socket.writeHighWaterMark {
      try await socket.write([])
    }
  }
}

private func burnAndEcho(_ socket: TCPSocket, _ workload: Workload) async throws {
  while let bytes = try await socket.read(maxLength: 65536) {
    workload.burn()
    try await socket.write(bytes)
  }
}

/// Suspends the task for good.
func forever() async {
  await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
}
