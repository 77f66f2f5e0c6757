// SPDX-License-Identifier: Apache-2.0

import ServerProgram
import TCPServerKit

/// Sends back what arrives, in a task: the bytes go from the loop's buffer to the kernel.
func echo(_ socket: TCPSocket, deadlines: Deadlines) async throws {
  var patience = deadlines.firstByte
  while try await socket.read(
    timeout: patience,
    { bytes in
      _ = bytes.withUnsafeBytes { socket.write($0) }
    }
  ) != nil {
    patience = deadlines.idle
    // The client reads more slowly than it sends: nothing more is read until it has caught up.
    if socket.bytesToWrite >= socket.writeHighWaterMark {
      try await socket.write([], timeout: deadlines.idle)
    }
  }
}

/// Sends back what arrives, in handlers; the task only waits for the end, or to be cancelled.
func echoWithHandlers(_ socket: TCPSocket, deadlines: Deadlines) async {
  let (ended, end) = AsyncStream.makeStream(of: Never.self)
  let mostHeld = 65536
  // What has no room stays unread, here and then in the kernel, until the client has caught up.
  socket.readBufferSize = mostHeld
  let deadline = EventTimer(interval: deadlines.firstByte, isSingleShot: true)
  deadline.timeout.connect { [unowned socket] in
    // A client that does not take what it was sent is not waited for any longer.
    if socket.bytesToWrite > 0 { socket.abort() } else { socket.disconnectFromHost() }
  }
  let sendBack = { [unowned socket] in
    guard socket.bytesAvailable > 0, socket.bytesToWrite < mostHeld else { return }
    socket.write(socket.readAll())
  }
  let goOn = {
    // Setting it restarts the timer.
    deadline.interval = deadlines.idle
    sendBack()
  }
  socket.readyRead.connect(goOn)
  socket.bytesWritten.connect { _ in goOn() }
  socket.disconnected.connect { end.finish() }
  deadline.start()
  defer { deadline.stop() }
  for await _ in ended {}
}
