// SPDX-License-Identifier: Apache-2.0

public import TCPServerKit

/// What was agreed with the peer of an encrypted connection.
public struct Encryption: Sendable, Hashable {
  /// The protocol's version.
  public let version: SSLVersion
  /// The cipher suite, with its name in the standards.
  public let cipher: String
  /// The application protocol that was agreed on (ALPN); nil for none.
  public let applicationProtocol: String?
  /// The server name that the client has requested; nil for none.
  public let serverName: String?
  /// The peer's certificates in DER, its own first; empty where it sent none. Of a resumed session a server has the
  /// first one only.
  public let peerCertificates: [[UInt8]]
  /// What is wrong with the peer's certificate, which was accepted all the same: an `X509_V_ERR_` of OpenSSL; 0 for
  /// nothing.
  public let verification: Int
  /// The identity of the pre-shared key that the handshake was made with; nil for one with certificates. Then there are
  /// no certificates.
  public let preSharedKeyIdentity: String?
  /// Whether a session was resumed.
  public let isResumed: Bool
  /// Whether the peer has closed without the end of TLS: bytes may lack at the end.
  public let isTruncated: Bool
}

extension TCPSocket {
  /// What was agreed with the peer; nil for a connection that is not encrypted, or not yet. Still there after the
  /// connection has ended.
  ///
  /// Read it on the socket's event base. Each call makes a new value.
  public var encryption: Encryption? {
    (transport as? SSLTransport)?.encryption
  }

  /// Why the last handshake of the socket has failed; nil when it has not. To be read on the socket's event base.
  public var encryptionError: SSLError? {
    guard let transport = transport as? SSLTransport else { return nil }
    return transport.error
  }
}
