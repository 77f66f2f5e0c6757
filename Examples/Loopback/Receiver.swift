// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The end that is connected to, once, and counts what comes.
final class Receiver {
  private var socket: TCPSocket?
  private(set) var received = 0
  /// Called for each tenth of the whole.
  var whenReceived: () -> Void = {}
  /// Called when everything has come, with nil, or when it cannot any more, with the reason.
  var whenEnded: (String?) -> Void = { _ in }

  init(_ server: TCPServer) {
    server.newConnection.connect { [unowned self, unowned server] in
      let socket = server.nextPendingConnection()
      // No other client is to connect; the connection itself outlives the listening.
      server.close()
      guard let socket else { return whenEnded("There was no connection to take") }
      receive(from: socket)
    }
  }

  private func receive(from socket: TCPSocket) {
    self.socket = socket
    socket.readyRead.connect { [unowned self, unowned socket] in
      let tenth = received / (Transfer.total / 10)
      received += socket.readAll().count
      if received / (Transfer.total / 10) > tenth {
        whenReceived()
      }
      guard received >= Transfer.total else { return }
      socket.close()
      whenEnded(received == Transfer.total ? nil : "The receiver got more than was sent")
    }
    socket.errorOccurred.connect { [unowned self, unowned socket] _ in
      whenEnded("The receiver failed: \(socket.errorString)")
    }
  }
}
