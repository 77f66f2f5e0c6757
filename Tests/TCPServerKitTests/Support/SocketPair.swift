// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// A connection that a server has accepted: its socket, and the client as a plain descriptor.
///
/// - Parameters:
///   - base: the socket's loop; nil for one that is driven by its `waitFor` calls.
///   - tight: makes the kernel's buffers on the way to the peer small, so that it does not take 1 MiB at once.
func connectedPair(
  _ base: EventBase?,
  ipv6: Bool = false,
  tight: Bool = false
) throws -> (socket: TCPSocket, peer: PlainClient) {
  let server = TCPServer(eventBase: base)
  try #require(server.listen(address: ipv6 ? .localHostIPv6 : .localHost))
  let peer = try #require(PlainClient(to: server, receiveBuffer: tight ? 131072 : 0))
  let socket = try acceptedSocket(of: server)
  if tight {
    socket.setSocketOption(.sendBufferSize, 65536)
  }
  return (socket, peer)
}

/// A connection between two sockets of the library; the first is the accepted one.
func connectedSockets(_ base: EventBase?) throws -> (accepted: TCPSocket, client: TCPSocket) {
  let server = TCPServer(eventBase: base)
  try #require(server.listen(address: .localHost))
  let client = TCPSocket(eventBase: base)
  client.connectToHost(.localHost, port: server.serverPort)
  try #require(client.waitForConnected(msec: 60_000))
  return (try acceptedSocket(of: server), client)
}

/// Waits for a server's next connection.
func acceptedSocket(of server: TCPServer) throws -> TCPSocket {
  let isThere = server.waitForNewConnection(msec: 60_000)
  try #require(isThere)
  return try #require(server.nextPendingConnection())
}

extension TCPSocket {
  /// The result of ``read(into:)`` with memory of this size.
  func readByteCount(_ size: Int) -> Int {
    unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { unsafe read(into: $0) }
  }
}

/// Records the signals of a socket, in their order.
final class Recorder {
  enum Event: Equatable {
    case connected
    case readyRead
    case bytesWritten(Int)
    case readChannelFinished
    case errorOccurred(SocketError, SocketState)
    case disconnected
  }

  private(set) var events: [Event] = []

  /// Records everything but ``TCPSocket/readChannelFinished``: having a handler there changes what happens.
  init(_ socket: TCPSocket) {
    socket.connected.connect { [self] in events.append(.connected) }
    socket.readyRead.connect { [self] in events.append(.readyRead) }
    socket.bytesWritten.connect { [self] in events.append(.bytesWritten($0)) }
    socket.errorOccurred.connect { [self, unowned socket] in
      events.append(.errorOccurred($0, socket.state))
    }
    socket.disconnected.connect { [self] in events.append(.disconnected) }
  }

  func count(_ event: Event) -> Int {
    events.count { $0 == event }
  }

  var bytesWritten: Int {
    events.reduce(0) { sum, event in
      if case .bytesWritten(let count) = event { sum + count } else { sum }
    }
  }

  var isDisconnected: Bool {
    events.contains(.disconnected)
  }
}
