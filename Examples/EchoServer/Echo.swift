import TCPServerKit

/// Sends back what arrives, in a task: the bytes go from the loop's buffer to the kernel.
func echo(_ socket: TCPSocket) async throws {
  while try await socket.read({ bytes in
    _ = bytes.withUnsafeBytes { socket.write($0) }
  }) != nil {
    // The client reads more slowly than it sends: nothing more is read until it has caught up.
    if socket.bytesToWrite >= socket.writeHighWaterMark {
      try await socket.write([])
    }
  }
}

/// Sends back what arrives, in handlers; the task only waits for the end, or to be cancelled.
func echoWithHandlers(_ socket: TCPSocket) async {
  let (ended, end) = AsyncStream.makeStream(of: Never.self)
  let mostHeld = 65536
  // What has no room stays unread, here and then in the kernel, until the client has caught up.
  socket.readBufferSize = mostHeld
  let sendBack = { [unowned socket] in
    guard socket.bytesAvailable > 0, socket.bytesToWrite < mostHeld else { return }
    socket.write(socket.readAll())
  }
  socket.readyRead.connect(sendBack)
  socket.bytesWritten.connect { _ in sendBack() }
  socket.disconnected.connect { end.finish() }
  for await _ in ended {}
}
