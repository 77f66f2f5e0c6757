// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS

/// A certificate with its chain and its private key, and the server names that it is for.
///
/// Its certificate never changes. To renew one, make another identity, and set a configuration with that
/// (``SSLServer/sslConfiguration``): handshakes that have begun keep the one that they have. Expired certificates are
/// used all the same; see ``expiry``.
///
/// ECDSA with P-256 costs a server about a tenth of what RSA with 2,048 bits does.
public struct SSLIdentity: Sendable {
  /// The names in the clients' first message that it is for, in ASCII: `www.example.com`, or `*.example.com` for one
  /// more label of any kind. Without names it is for all others, and for clients that name none.
  public let serverNames: [String]
  private let storage: Storage

  /// A response of OCSP in DER, which is sent to clients that ask for it (stapling); nil for none, as at first.
  ///
  /// It says that the certificate was not revoked, and is valid for some days: the program fetches it from the
  /// authority, and renews it as a certificate, by setting a configuration with it. Whether it is about the
  /// certificate, and still valid, is looked at by the clients alone. One that is empty, or longer than 65,535 bytes,
  /// is an error of the configuration.
  ///
  /// ```swift
  /// server.sslConfiguration.identities[0].ocspResponse = response
  /// ```
  public var ocspResponse: [UInt8]?

  /// `@unchecked Sendable` because of this invariant: an identity of the C library never changes, and may be used on any
  /// thread.
  @safe final class Storage: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) {
      unsafe self.pointer = pointer
    }

    deinit {
      unsafe csc_tls_identity_free(pointer)
    }
  }

  /// Reads two files in PEM, or one that has both. It blocks for that.
  ///
  /// - Parameters:
  ///   - certificateFile: the certificate first, then those that issued it, in their order; the root may be left out.
  ///   - keyFile: the private key.
  ///   - password: of an encrypted key; nothing asks for it.
  ///   - serverNames: see ``serverNames``.
  /// - Throws: ``SSLError/Reason/configuration`` with what cannot be used, and why.
  public init(
    certificateFile: String,
    keyFile: String,
    password: String? = nil,
    serverNames: [String] = []
  ) throws(SSLError) {
    var error = csc_tls_error()
    guard let pointer = unsafe csc_tls_identity_from_files(certificateFile, keyFile, password, &error) else {
      throw SSLError(error)
    }
    self.serverNames = serverNames
    storage = unsafe Storage(pointer)
  }

  /// Takes texts in PEM.
  ///
  /// - Parameters:
  ///   - certificate: the certificate first, then those that issued it, in their order; the root may be left out.
  ///   - key: the private key.
  ///   - password: of an encrypted key.
  ///   - serverNames: see ``serverNames``.
  /// - Throws: ``SSLError/Reason/configuration`` with what cannot be used, and why.
  public init(
    certificate: [UInt8],
    key: [UInt8],
    password: String? = nil,
    serverNames: [String] = []
  ) throws(SSLError) {
    var error = csc_tls_error()
    let made = unsafe csc_tls_identity_from_pem(
      certificate,
      certificate.count,
      key,
      key.count,
      password,
      &error
    )
    guard let pointer = unsafe made else { throw SSLError(error) }
    self.serverNames = serverNames
    storage = unsafe Storage(pointer)
  }

  /// What the C library is given: with the response, where there is one.
  func stapled(_ error: inout csc_tls_error) -> Storage? {
    guard let ocspResponse else { return storage }
    let made = unsafe csc_tls_identity_stapling(storage.pointer, ocspResponse, ocspResponse.count, &error)
    return unsafe made.map { unsafe Storage($0) }
  }

  /// The same for one handshake: a response that cannot be sent is left out.
  func withPointer(_ body: (OpaquePointer) -> Void) {
    var error = csc_tls_error()
    let storage = stapled(&error) ?? storage
    withExtendedLifetime(storage) { unsafe body(storage.pointer) }
  }

  /// When the certificate expires, in seconds since 1970.
  public var expiry: Int64 {
    unsafe csc_tls_identity_expiry(storage.pointer)
  }
}
