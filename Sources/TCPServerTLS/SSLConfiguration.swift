// SPDX-License-Identifier: Apache-2.0

/// How connections are encrypted: what `QSslConfiguration` is for `QSslServer`.
///
/// ```swift
/// var configuration = SSLConfiguration()
/// configuration.identities = [
///   try SSLIdentity(certificateFile: "/etc/tls/example.pem", keyFile: "/etc/tls/example.key")
/// ]
/// configuration.applicationProtocols = ["h2", "http/1.1"]
/// ```
///
/// It is a value. What OpenSSL makes of it is made once for each loop, and shared by the copies of a value that is not
/// changed any more.
///
/// There is no renegotiation, no compression, no early data, and no version before TLS 1.2.
public struct SSLConfiguration: Sendable {
  /// Certificates with their keys. A server needs one; a client sends the one without ``SSLIdentity/serverNames``. Where
  /// several have the same name, the last one counts.
  public var identities: [SSLIdentity] = [] { didSet { changed() } }

  /// The lowest version; TLS 1.2 at first.
  public var minimumVersion = SSLVersion.tls12 { didSet { changed() } }

  /// The highest version; TLS 1.3 at first.
  public var maximumVersion = SSLVersion.tls13 { didSet { changed() } }

  /// Ciphers of TLS 1.2, in OpenSSL's form; nil for those with forward secrecy and AEAD.
  public var ciphers: String? { didSet { changed() } }

  /// Cipher suites of TLS 1.3, in OpenSSL's form; nil for OpenSSL's.
  public var cipherSuites: String? { didSet { changed() } }

  /// Groups for the key exchange, in OpenSSL's form; nil for `X25519:P-256:P-384`.
  public var groups: String? { didSet { changed() } }

  /// Application protocols (ALPN), the preferred one first. A client that offers none of them is refused, and one that
  /// offers none at all is served.
  public var applicationProtocols: [String] = [] { didSet { changed() } }

  /// Whether the peer must send a certificate; ``SSLPeerVerifyMode/automatic`` at first.
  public var peerVerifyMode = SSLPeerVerifyMode.automatic { didSet { changed() } }

  /// The authorities whose certificates are accepted, in PEM.
  public var caCertificates: [UInt8] = [] { didSet { changed() } }

  /// The same from a file in PEM, which is read when the configuration is first used.
  public var caCertificatesFile: String? { didSet { changed() } }

  /// Whether the system's authorities are accepted, too. A client without others accepts them in any case.
  public var usesSystemAuthorities = false { didSet { changed() } }

  /// The keys of session tickets; nil for no resumption. Each configuration has keys of its own at first.
  public var sessionTickets = try? SSLTicketKeys() { didSet { changed() } }

  /// Whether a peer may close without the end of TLS (close_notify); false at first.
  ///
  /// Without that end bytes may lack at the end, which who cut the connection has decided. Protocols whose messages say how
  /// long they are, such as HTTP with `Content-Length`, notice that themselves, and may allow it; one whose message ends
  /// with the connection must not.
  public var allowsTruncation = false { didSet { changed() } }

  private var contexts = SSLContextCache()

  /// Makes a configuration without a certificate: one for clients.
  public init() {}

  /// Makes a configuration of a server with one certificate. It reads two files, and blocks for that.
  ///
  /// - Parameters:
  ///   - certificateFile: see ``SSLIdentity/init(certificateFile:keyFile:password:serverNames:)``.
  ///   - keyFile: the private key.
  /// - Throws: ``SSLError/Reason/configuration`` with what cannot be used, and why.
  public init(certificateFile: String, keyFile: String) throws(SSLError) {
    identities = [try SSLIdentity(certificateFile: certificateFile, keyFile: keyFile)]
  }

  /// Looks whether a server can use it, which is otherwise looked at when a server is given it.
  ///
  /// - Throws: ``SSLError/Reason/configuration`` with the setting, and why.
  public func checkForServer() throws(SSLError) {
    _ = try SSLContext(self, isClient: false, asks: false)
  }

  /// Looks whether a client can use it.
  ///
  /// - Throws: ``SSLError/Reason/configuration`` with the setting, and why.
  public func checkForClient() throws(SSLError) {
    _ = try SSLContext(self, isClient: true, asks: false)
  }

  /// Whether a server asks for them.
  var asksForCertificates: Bool {
    peerVerifyMode == .query || peerVerifyMode == .verify
  }

  private mutating func changed() {
    contexts = SSLContextCache()
  }

  /// - Parameter place: one for each loop, so that no two threads share what OpenSSL counts.
  func context(isClient: Bool, asks: Bool = false, for place: ObjectIdentifier?) throws(SSLError)
    -> SSLContext
  {
    try contexts.context(SSLContextCache.Key(isClient: isClient, asks: asks, place: place), self)
  }
}

/// A version of the protocol.
public enum SSLVersion: Int, Comparable, CaseIterable, Sendable {
  /// RFC 5246.
  case tls12 = 2
  /// RFC 8446.
  case tls13 = 3

  /// Whether one is older than the other.
  public static func < (left: SSLVersion, right: SSLVersion) -> Bool {
    left.rawValue < right.rawValue
  }
}

/// Whether the peer must send a certificate, and a valid one: `QSslSocket::PeerVerifyMode`.
public enum SSLPeerVerifyMode: CaseIterable, Sendable {
  /// A server asks for none; a client requires a valid one.
  case automatic
  /// A server asks for none; a client takes any, from anyone: only for tests.
  case none
  /// The peer is requested to send one. A missing or invalid one is accepted.
  case query
  /// The peer is requested to send one. Without a valid one the handshake fails.
  case verify
}
