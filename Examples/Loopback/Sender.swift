// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The end that connects, and writes no faster than the connection takes it.
final class Sender {
  private let socket = TCPSocket()
  private let chunk = [UInt8](repeating: UInt8(ascii: "@"), count: Transfer.chunk)
  private var left = Transfer.total
  /// How many bytes the system has taken.
  private(set) var sent = 0
  /// The most bytes that were held at once because the system did not take them yet.
  private(set) var largestBuffer = 0
  /// Is given the reason.
  var whenFailed: (String) -> Void = { _ in }

  func connect(to address: HostAddress, port: UInt16) {
    socket.connected.connect { [unowned self] in
      writeSome()
    }
    socket.bytesWritten.connect { [unowned self] count in
      sent += count
      writeSome()
    }
    socket.errorOccurred.connect { [unowned self] error in
      // The receiver closes when it has everything.
      guard error != .remoteHostClosed || sent < Transfer.total else { return }
      whenFailed("The sender failed: \(socket.errorString)")
    }
    socket.connectToHost(address, port: port)
  }

  /// Fills the write buffer, but no further: who writes everything at once holds it all, however slow the peer is.
  private func writeSome() {
    while left > 0, socket.bytesToWrite <= 4 * Transfer.chunk {
      let written = socket.write(chunk.prefix(left))
      // Reported by errorOccurred.
      guard written > 0 else { return }
      left -= written
      largestBuffer = max(largestBuffer, socket.bytesToWrite)
    }
  }
}
