// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// Listens on the first free port of a range, and has peers' connections at once: nothing is queued.
final class TorrentServer: TCPServer, @unchecked Sendable {
  /// Is given each connection.
  var whenConnected: (TCPSocket) -> Void = { _ in }

  /// Returns whether there was a port; if not, ``TCPServer/errorString`` says why the last one was none.
  func listen(address: HostAddress, ports: ClosedRange<UInt16>) -> Bool {
    for port in ports {
      if listen(address: address, port: port) { return true }
      // Other ports would not be better.
      guard serverError == .addressInUse || serverError == .socketAccess else { return false }
    }
    return false
  }

  override func incomingConnection(_ socketDescriptor: CInt) {
    let socket = TCPSocket(eventBase: eventBase)
    guard socket.setSocketDescriptor(socketDescriptor) else {
      Glibc.close(socketDescriptor)
      return
    }
    whenConnected(socket)
  }
}
