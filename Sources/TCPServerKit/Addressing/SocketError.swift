// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What went wrong on a server or a socket, with the numbers of `QAbstractSocket::SocketError`; what Qt does not have
/// begins at 1000.
///
/// A server reports its last error as ``TCPServer/serverError`` with a text in ``TCPServer/errorString``; a
/// socket as ``TCPSocket/error`` and ``TCPSocket/errorString``. Calls that throw, throw one of these.
public enum SocketError: Int32, Error, CaseIterable, Sendable {
  /// No error yet, or one that has no case of its own.
  case unknown = -1
  /// The peer refused the connection, or the address had no listener.
  case connectionRefused = 0
  /// The peer ended the connection.
  case remoteHostClosed = 1
  /// The host name has no address, or no server is at the path.
  case hostNotFound = 2
  /// The process may not do this: a privileged port, a security policy.
  case socketAccess = 3
  /// Descriptors or memory ran out.
  case socketResource = 4
  /// A wait ended without what it waited for.
  case socketTimeout = 5
  /// A datagram was too large. No call of this library gives it.
  case datagramTooLarge = 6
  /// The network failed.
  case network = 7
  /// The address and port, or the path, are taken.
  case addressInUse = 8
  /// The address is not one of this machine's.
  case socketAddressNotAvailable = 9
  /// The socket, address or proxy cannot do this.
  case unsupportedSocketOperation = 10
  /// The task that made the call was cancelled.
  case unfinishedSocketOperation = 11
  /// The proxy wants credentials, or refused the ones it got.
  case proxyAuthenticationRequired = 12
  /// A TLS handshake failed. The module TCPServerTLS gives it.
  case sslHandshakeFailed = 13
  /// The proxy refused the connection.
  case proxyConnectionRefused = 14
  /// The proxy closed the connection too early.
  case proxyConnectionClosed = 15
  /// The proxy did not answer in time.
  case proxyConnectionTimeout = 16
  /// The proxy's host name has no address.
  case proxyNotFound = 17
  /// The proxy answered something that is not its protocol.
  case proxyProtocol = 18
  /// The call was made in a state that does not allow it.
  case operation = 19
  /// The TLS library failed, or the peer of an encrypted connection sent what TLS does not allow. The module TCPServerTLS
  /// gives it.
  case sslInternal = 20
  /// A certificate, a key or another setting of TLS cannot be used. The module TCPServerTLS gives it.
  case sslInvalidUserData = 21
  /// Try again: nothing is wrong but there is nothing now.
  case temporary = 22
  /// A line, or what is read up to another delimiter, is longer than the call allows.
  case lineTooLong = 1000
  /// A server's client sent no byte within ``ConnectionPolicy/firstByte``.
  case firstByteTimeout = 1001
  /// Nothing moved on a server's connection for ``ConnectionPolicy/idle``.
  case idleTimeout = 1002
  /// A server's client sent or took less than ``ConnectionPolicy/minimumRate``.
  case tooSlow = 1003
  /// A server's connection was there for ``ConnectionPolicy/maximumAge`` and ``ConnectionPolicy/grace``.
  case ageLimit = 1004

  init(_ error: csc_error) {
    self = SocketError(rawValue: Int32(error.rawValue)) ?? .unknown
  }

  var core: csc_error {
    csc_error(rawValue: rawValue)
  }
}

extension SocketError: CustomStringConvertible {
  /// The error for a person to read, in English.
  ///
  /// Where the server or the socket is at hand, ``TCPServer/errorString`` and ``TCPSocket/errorString`` say more: not
  /// only what class of error it was, but which call failed and why.
  public var description: String {
    switch self {
    case .unknown: "Unknown error"
    case .connectionRefused: "Connection refused"
    case .remoteHostClosed: "The remote host closed the connection"
    case .hostNotFound: "Host not found"
    case .socketAccess: "Permission denied"
    case .socketResource: "Out of resources"
    case .socketTimeout: "Network operation timed out"
    case .datagramTooLarge: "Datagram was too large to send"
    case .network: "Network error"
    case .addressInUse: "The address is already in use"
    case .socketAddressNotAvailable: "The address is not available"
    case .unsupportedSocketOperation: "Unsupported socket operation"
    case .unfinishedSocketOperation: "The task was cancelled"
    case .proxyAuthenticationRequired: "Proxy authentication required"
    case .sslHandshakeFailed: "TLS handshake failed"
    case .proxyConnectionRefused: "Connection to proxy refused"
    case .proxyConnectionClosed: "Connection to proxy closed prematurely"
    case .proxyConnectionTimeout: "Connection to proxy timed out"
    case .proxyNotFound: "Proxy host not found"
    case .proxyProtocol: "Proxy protocol error"
    case .operation: "The operation is not allowed now: errorString says why"
    case .sslInternal: "Error of the TLS library"
    case .sslInvalidUserData: "Invalid TLS data"
    case .temporary: "Temporary error"
    case .lineTooLong: "Line too long"
    case .firstByteTimeout: "The peer sent no first byte in time"
    case .idleTimeout: "The connection was idle for too long"
    case .tooSlow: "The peer sent or took too little"
    case .ageLimit: "The connection reached its maximum age"
    }
  }
}
