// SPDX-License-Identifier: Apache-2.0

/// How far a socket's connection has come, with the numbers of `QAbstractSocket::SocketState`.
public enum SocketState: Int, Sendable {
  /// Not connected.
  case unconnected = 0
  /// The host name is being looked up.
  case hostLookup = 1
  /// The connection is being made.
  case connecting = 2
  /// Connected.
  case connected = 3
  /// Bound to a local address by ``TCPSocket/bind(address:port:)``.
  case bound = 4
  /// Listening. No call of this library gives it.
  case listening = 5
  /// On its way to unconnected: what was written is still being delivered.
  case closing = 6
}

extension SocketState {
  /// As a number that fits into an atomic one.
  @inline(__always) var stored: UInt8 {
    unsafe unsafeBitCast(self, to: UInt8.self)
  }

  /// - Parameter stored: what ``stored`` has given.
  @inline(__always) init(stored: UInt8) {
    self = unsafe unsafeBitCast(stored, to: SocketState.self)
  }
}
