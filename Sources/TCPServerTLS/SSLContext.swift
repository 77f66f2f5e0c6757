// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS
internal import Glibc
internal import TCPServerKit

/// What the C library makes of a configuration: connections are made of it.
///
/// `@unchecked Sendable` because of this invariant: a context of the C library may be used on any thread.
@safe final class SSLContext: @unchecked Sendable {
  let pointer: OpaquePointer
  let isClient: Bool
  let allowsTruncation: Bool
  let requiresValid: Bool
  /// Whether connections are called back.
  let callsBack: Bool
  let asksForKeys: Bool
  let identityLookup: (@Sendable (String?) async -> SSLIdentity?)?
  let peerVerifier: (@Sendable ([[UInt8]], Int) async -> Bool)?
  let preSharedKeyHandler: (@Sendable (SSLPreSharedKeyAuthenticator) -> Void)?
  let preSharedKeyIdentityHint: String?
  let keyLog: SSLKeyLog?

  init(_ configuration: SSLConfiguration, for use: SSLContextCache.Use) throws(SSLError) {
    let isClient = use.isClient
    let asksForKeys =
      use.asksForKeys || configuration.preSharedKeyHandler != nil
      || !isClient && configuration.preSharedKeyIdentityHint != nil
    let asksAboutCertificates = use.asksAboutCertificates || configuration.peerVerifier != nil
    let looksUp = !isClient && configuration.identityLookup != nil
    if !isClient, configuration.identities.isEmpty, !asksForKeys, !looksUp {
      throw SSLError(.configuration, "A server needs a certificate, and its key")
    }
    if configuration.preSharedKeyIdentityHint?.utf8.contains(0) ?? false {
      throw SSLError(.configuration, "The hint for pre-shared keys has a NUL in it")
    }
    if configuration.peerVerifier != nil, !configuration.asksForCertificates(isClient: isClient) {
      throw SSLError(.configuration, "A peerVerifier needs a peerVerifyMode that asks for certificates")
    }
    var keyLog: SSLKeyLog?
    if let path = configuration.keyLogFile { keyLog = try SSLKeyLog(path: path) }
    guard let map = unsafe csc_tls_identities_new() else {
      throw SSLError.outOfMemory
    }
    defer { unsafe csc_tls_identities_free(map) }
    var error = csc_tls_error()
    for identity in configuration.identities {
      // C would take what is before it for the name.
      if identity.serverNames.contains(where: { $0.utf8.contains(0) }) {
        throw SSLError(.configuration, "A server name has a NUL in it")
      }
      guard unsafe Self.set(identity, in: map, &error) else { throw SSLError(error) }
    }
    let texts = CStrings()
    var settings = unsafe csc_tls_settings()
    unsafe settings.is_client = isClient
    unsafe settings.minimum_version = configuration.minimumVersion.core
    unsafe settings.maximum_version = configuration.maximumVersion.core
    unsafe settings.ciphers = texts.text(configuration.ciphers)
    unsafe settings.cipher_suites = texts.text(configuration.cipherSuites)
    unsafe settings.groups = texts.text(configuration.groups)
    unsafe settings.application_protocols = texts.texts(configuration.applicationProtocols)
    unsafe settings.application_protocol_count = configuration.applicationProtocols.count
    unsafe settings.verify_mode = configuration.peerVerifyMode.core
    unsafe settings.authorities_file = texts.text(configuration.caCertificatesFile)
    unsafe settings.uses_system_authorities = configuration.usesSystemAuthorities
    unsafe settings.identities = map
    if !isClient { unsafe settings.ticket_keys = configuration.sessionTickets?.pointer }
    if asksAboutCertificates { unsafe settings.verify = unsafe onCertificate }
    if asksForKeys {
      unsafe settings.psk = unsafe onKey
      unsafe settings.psk_hint = texts.text(configuration.preSharedKeyIdentityHint)
    }
    if looksUp { unsafe settings.lookup = unsafe onLookup }
    if keyLog != nil { unsafe settings.key_log = unsafe onKeyLog }
    let made = unsafe configuration.caCertificates.withUnsafeBytes { authorities in
      if authorities.count > 0 {
        unsafe settings.authorities = authorities.baseAddress.map { unsafe UnsafeRawPointer($0) }
        unsafe settings.authorities_size = authorities.count
      }
      return unsafe csc_tls_context_new(&settings, &error)
    }
    withExtendedLifetime(texts) {}
    guard let pointer = unsafe made else { throw SSLError(error) }
    unsafe self.pointer = pointer
    self.isClient = isClient
    allowsTruncation = configuration.allowsTruncation
    self.asksForKeys = asksForKeys
    callsBack = asksAboutCertificates || asksForKeys || looksUp || keyLog != nil
    identityLookup = configuration.identityLookup
    peerVerifier = configuration.peerVerifier
    preSharedKeyHandler = configuration.preSharedKeyHandler
    preSharedKeyIdentityHint = configuration.preSharedKeyIdentityHint
    self.keyLog = keyLog
    requiresValid = configuration.peerVerifyMode == .verify
  }

  deinit {
    unsafe csc_tls_context_free(pointer)
  }

  private static func set(_ identity: SSLIdentity, in map: OpaquePointer, _ error: inout csc_tls_error)
    -> Bool
  {
    guard let storage = identity.stapled(&error) else { return false }
    defer { withExtendedLifetime(storage) {} }
    guard !identity.serverNames.isEmpty else {
      return unsafe csc_tls_identities_set(map, nil, storage.pointer, &error)
    }
    for name in identity.serverNames {
      guard unsafe csc_tls_identities_set(map, name, storage.pointer, &error) else { return false }
    }
    return true
  }
}

/// Texts for C, as long as this is there.
@safe private final class CStrings {
  private var texts: [UnsafeMutablePointer<CChar>?] = unsafe []
  private var lists: [UnsafeMutablePointer<UnsafePointer<CChar>?>] = unsafe []

  deinit {
    unsafe texts.forEach { unsafe free($0) }
    unsafe lists.forEach { unsafe $0.deallocate() }
  }

  func text(_ text: String?) -> UnsafePointer<CChar>? {
    guard let text else { return nil }
    let copy = unsafe strdup(text)
    unsafe texts.append(copy)
    return unsafe UnsafePointer(copy)
  }

  func texts(_ all: [String]) -> UnsafePointer<UnsafePointer<CChar>?>? {
    guard !all.isEmpty else { return nil }
    let list = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: all.count)
    unsafe lists.append(list)
    for (index, one) in all.enumerated() { unsafe (list + index).initialize(to: text(one)) }
    return unsafe UnsafePointer(list)
  }
}

extension SSLVersion {
  var core: csc_tls_version {
    self == .tls12 ? CSC_TLS_VERSION_1_2 : CSC_TLS_VERSION_1_3
  }
}

extension SSLPeerVerifyMode {
  var core: csc_tls_verify_mode {
    switch self {
    case .automatic: CSC_TLS_VERIFY_AUTOMATIC
    case .none: CSC_TLS_VERIFY_NONE
    case .query: CSC_TLS_VERIFY_QUERY
    case .verify: CSC_TLS_VERIFY_REQUIRED
    }
  }
}
