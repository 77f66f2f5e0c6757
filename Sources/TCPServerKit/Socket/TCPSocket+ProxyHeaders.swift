// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// PROXY headers: what one said of an accepted connection, and sending one.
extension TCPSocket {
  /// What a proxy has said of this connection; nil where its server requires no header
  /// (``TCPServer/proxyHeaderRequirement``).
  public var proxied: ProxiedConnection? {
    requireLoopThread("TCPSocket.proxied")
    return existingDetails?.origin?.proxied
  }

  @inline(never) func keep(_ proxied: ProxiedConnection) {
    origin.proxied = proxied
  }

  /// Sends a PROXY header, for a server that requires one. To be called before anything else is written; a connection
  /// that is being made sends it first.
  ///
  /// ```swift
  /// let upstream = TCPSocket()
  /// upstream.connectToHost("backend.example", port: 80)
  /// try upstream.sendProxyHeader(ProxyHeader(forwarding: client))
  /// ```
  ///
  /// From any thread, as ``write(_:)-([UInt8])``.
  ///
  /// - Parameter header: with the client's address, or ``ProxyHeader/local``.
  /// - Returns: whether it was taken, as ``write(_:)-([UInt8])`` takes bytes.
  /// - Throws: where the header cannot be encoded; nothing is sent then.
  @discardableResult
  public func sendProxyHeader(_ header: ProxyHeader) throws(ProxyHeader.FormatError) -> Bool {
    let bytes = try header.encoded()
    return write(bytes) == bytes.count
  }
}

extension ProxyHeader {
  /// Makes the header with which a connection is forwarded: its client, and where that connected to. Of a connection that
  /// came through a proxy itself, both are what that proxy said.
  ///
  /// Called on the socket's event base.
  ///
  /// - Parameters:
  ///   - socket: the client's connection. Once it has ended there is no destination, and the header has no addresses.
  ///   - version: Of the protocol.
  public init(forwarding socket: TCPSocket, version: Version = .v2) {
    self.init()
    self.version = version
    let (address, port) = (socket.peerAddress, socket.peerPort)
    let said = socket.proxied?.header
    if let said, !said.destinationAddress.isNull {
      (destinationAddress, destinationPort) = (said.destinationAddress, said.destinationPort)
    } else {
      (destinationAddress, destinationPort) = (socket.localAddress, socket.localPort)
    }
    if address.isNull || destinationAddress.isNull {
      (destinationAddress, destinationPort) = (.null, 0)
    } else {
      (sourceAddress, sourcePort) = (address, port)
    }
  }
}
