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
  /// Certificates with their keys. A server needs one, or ``identityLookup``, or pre-shared keys; a client sends the
  /// one without ``SSLIdentity/serverNames``. Where several have the same name, the last one counts.
  public var identities: [SSLIdentity] = [] { didSet { changed() } }

  /// The lowest version; TLS 1.2 at first.
  public var minimumVersion = SSLVersion.tls12 { didSet { changed() } }

  /// The highest version; TLS 1.3 at first.
  public var maximumVersion = SSLVersion.tls13 { didSet { changed() } }

  /// Ciphers of TLS 1.2, in OpenSSL's form; nil for those with forward secrecy and AEAD. Among them is one with a
  /// pre-shared key (`ECDHE-PSK-CHACHA20-POLY1305`) where the configuration has keys.
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

  /// Decides whether a peer's certificate is accepted; nil to go by the authorities alone, as at first.
  ///
  /// It is called where the peer has sent one, with all that it has sent, in DER and its own first, and with what is
  /// wrong with them: an `X509_V_ERR_` of OpenSSL, 0 for nothing. To look for revoked certificates, return false for
  /// those, and for any with an error. It needs a ``peerVerifyMode`` that asks for certificates:
  /// ``SSLPeerVerifyMode/query`` or
  /// ``SSLPeerVerifyMode/verify``, or on a client ``SSLPeerVerifyMode/automatic``; with another the configuration cannot
  /// be used. With ``SSLPeerVerifyMode/query`` a peer that sends no certificate is accepted, and this is not called.
  ///
  /// It runs in a task on the loop of the connection, as handlers do, and may wait: the handshake waits for it,
  /// within its timeout, and the task is cancelled when the connection ends before.
  ///
  /// With it a client with a certificate resumes no session, and a client that has one itself neither keeps nor resumes
  /// any, so that each connection is decided on. The signals of ``SSLServer`` about certificates are not emitted. The
  /// handshake of a client of TLS 1.3 is complete before the server has decided: a refused one sees its connection end,
  /// without an alert.
  public var peerVerifier: (@Sendable (_ certificates: [[UInt8]], _ verification: Int) async -> Bool)? {
    didSet { changed() }
  }

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
  /// Without that end bytes may lack at the end, which who cut the connection has decided. Protocols whose messages say
  /// how long they are, such as HTTP with `Content-Length`, notice that themselves, and may allow it; one whose message
  /// ends with the connection must not.
  public var allowsTruncation = false { didSet { changed() } }

  /// Gives the identity for a server name that ``identities`` do not have, or nil for the one without names; where
  /// there is none, the handshake fails with the alert `unrecognized_name`. Nil for no look-up, as at first.
  ///
  /// It is called with the name that the client has sent, in any case of letters and without a dot at its end, or nil
  /// for none, in a task on the loop of the connection, as handlers are. What is not of letters, digits, `-` and `_`,
  /// with dots between, counts as none. It may wait, for a file or another server, but not block. Handshakes go on beside it, and it is called once
  /// for each handshake: what it returns is not kept. It may return another identity each time, and has to cache what
  /// is costly to find. Sessions that are resumed are looked up, too.
  ///
  /// The handshake's timeout is for the look-up, too. When that has passed, or the connection ends otherwise, the task
  /// is cancelled, and what it returns is ignored.
  ///
  /// ```swift
  /// configuration.identityLookup = { name in
  ///   guard let name else { return nil }
  ///   return await store.identity(for: name.lowercased())
  /// }
  /// ```
  public var identityLookup: (@Sendable (_ serverName: String?) async -> SSLIdentity?)? {
    didSet { changed() }
  }

  /// Supplies the pre-shared key of a handshake; nil for none, as at first. On a server it sets the key for the
  /// client's identity, on a client both the identity and the key. It is called on the loop of the connection, within
  /// the handshake, and maybe several times: keep the keys in memory. Without a key the handshake goes on with
  /// certificates, or fails.
  ///
  /// Handlers of ``SSLServer/preSharedKeyAuthenticationRequired`` are called first.
  public var preSharedKeyHandler: (@Sendable (SSLPreSharedKeyAuthenticator) -> Void)? { didSet { changed() } }

  /// What a server of TLS 1.2 sends to clients that choose a pre-shared key; nil for nothing, as at first. With a hint,
  /// also an empty one, or with ``preSharedKeyHandler``, a server needs no certificate.
  public var preSharedKeyIdentityHint: String? { didSet { changed() } }

  /// A file to which the secrets of all connections are appended, for Wireshark and others that decrypt what was
  /// recorded; nil for none, as at first. Only for looking for errors: who has the file can read all of it.
  ///
  /// The form is that of NSS, a line a secret. The file is made with mode 0600. One that others may read or own, that
  /// has a second name, or that a symbolic link leads to, is refused. A line is written at once, on the loop of its
  /// connection or on the thread that makes the handshake (``SSLServer/handshakeThreads``). No environment variable
  /// sets this; an OpenSSL that was itself built to follow `SSLKEYLOGFILE` (`enable-sslkeylog`) does so nevertheless.
  public var keyLogFile: String? { didSet { changed() } }

  private(set) var contexts = SSLContextCache()

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
    _ = try SSLContext(self, for: SSLContextCache.Use(isClient: false))
  }

  /// Looks whether a client can use it.
  ///
  /// - Throws: ``SSLError/Reason/configuration`` with the setting, and why.
  public func checkForClient() throws(SSLError) {
    _ = try SSLContext(self, for: SSLContextCache.Use(isClient: true))
  }

  /// Whether the peer's certificate is looked at.
  func asksForCertificates(isClient: Bool) -> Bool {
    switch peerVerifyMode {
    case .automatic: isClient
    case .none: false
    case .query, .verify: true
    }
  }

  private mutating func changed() {
    contexts = SSLContextCache()
  }

  /// - Parameter place: the loop.
  func context(_ use: SSLContextCache.Use, for place: (any AnyObject & Sendable)?) throws(SSLError)
    -> SSLContext
  {
    try contexts.context(use, for: place, of: self)
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
