// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("SocketError")
struct SocketErrorTests {
  @Test("The numbers are QAbstractSocket's")
  func numbers() {
    let inOrder: [SocketError] = [
      .unknown, .connectionRefused, .remoteHostClosed, .hostNotFound, .socketAccess, .socketResource,
      .socketTimeout, .datagramTooLarge, .network, .addressInUse, .socketAddressNotAvailable,
      .unsupportedSocketOperation, .unfinishedSocketOperation, .proxyAuthenticationRequired,
      .sslHandshakeFailed, .proxyConnectionRefused, .proxyConnectionClosed, .proxyConnectionTimeout,
      .proxyNotFound, .proxyProtocol, .operation, .sslInternal, .sslInvalidUserData, .temporary,
    ]
    #expect(inOrder.map(\.rawValue) == Array(-1...22))
    let own: [SocketError] = [.lineTooLong, .firstByteTimeout, .idleTimeout, .tooSlow, .ageLimit]
    #expect(own.map(\.rawValue) == Array(1000...1004))
    #expect(SocketError.allCases == inOrder + own)
    #expect(SocketError(rawValue: 23) == nil)
  }

  static let texts: [SocketError: String] = [
    .unknown: "Unknown error",
    .connectionRefused: "Connection refused",
    .remoteHostClosed: "The remote host closed the connection",
    .hostNotFound: "Host not found",
    .socketAccess: "Permission denied",
    .socketResource: "Out of resources",
    .socketTimeout: "Network operation timed out",
    .datagramTooLarge: "Datagram was too large to send",
    .network: "Network error",
    .addressInUse: "The address is already in use",
    .socketAddressNotAvailable: "The address is not available",
    .unsupportedSocketOperation: "Unsupported socket operation",
    .unfinishedSocketOperation: "The task was cancelled",
    .proxyAuthenticationRequired: "Proxy authentication required",
    .sslHandshakeFailed: "TLS handshake failed",
    .proxyConnectionRefused: "Connection to proxy refused",
    .proxyConnectionClosed: "Connection to proxy closed prematurely",
    .proxyConnectionTimeout: "Connection to proxy timed out",
    .proxyNotFound: "Proxy host not found",
    .proxyProtocol: "Proxy protocol error",
    .operation: "The operation is not allowed now: errorString says why",
    .sslInternal: "Error of the TLS library",
    .sslInvalidUserData: "Invalid TLS data",
    .temporary: "Temporary error",
    .lineTooLong: "Line too long",
    .firstByteTimeout: "The peer sent no first byte in time",
    .idleTimeout: "The connection was idle for too long",
    .tooSlow: "The peer sent or took too little",
    .ageLimit: "The connection reached its maximum age",
  ]

  @Test("An error that was thrown is printed as a text for a person", arguments: SocketError.allCases)
  func descriptions(error: SocketError) throws {
    let thrown: any Error = error
    #expect("\(thrown)" == Self.texts[error])
  }

  @Test("No two errors have the same text")
  func distinct() {
    #expect(Set(SocketError.allCases.map(\.description)).count == SocketError.allCases.count)
  }
}
