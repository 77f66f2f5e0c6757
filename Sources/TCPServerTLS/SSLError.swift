// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS

/// Why a connection could not be encrypted, or a setting cannot be used.
public struct SSLError: Error, Hashable, Sendable {
  /// What kind of error it is; more may come.
  public enum Reason: Hashable, Sendable {
    /// A setting of ``SSLConfiguration``, a certificate or a key cannot be used.
    case configuration
    /// The peer has closed the connection before its first byte.
    case closedSilently
    /// The peer does not speak TLS.
    case notTLS
    /// The peer has closed the connection in the middle of the handshake.
    case truncated
    /// The connection broke.
    case connection
    /// The peer has sent an alert: ``SSLError/alert`` is its number.
    case alert
    /// The peer's certificate is not accepted: ``SSLError/verification`` says why.
    case certificate
    /// The server has no certificate for the name that the client asks for.
    case unknownServerName
    /// There is no pre-shared key for the peer, and no certificate instead.
    case noPreSharedKey
    /// Memory is short.
    case memory
    /// The peer has sent what TLS does not allow, or both sides have no version, cipher or group in common.
    case protocolViolation
  }

  /// What kind of error it is.
  public var reason: Reason
  /// One sentence for a person.
  public var text: String
  /// The number of the alert that the peer has sent, or was sent; nil for none.
  public var alert: UInt8?
  /// What is wrong with the peer's certificate: an `X509_V_ERR_` of OpenSSL; 0 for nothing.
  public var verification: Int = 0

  static let outOfMemory = SSLError(.memory, "There is not enough memory")

  init(_ reason: Reason, _ text: String) {
    self.reason = reason
    self.text = text
  }

  /// The error of a setting.
  init(_ error: csc_tls_error) {
    let text = unsafe withUnsafeBytes(of: error.text) {
      unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    self.init(error.fault == CSC_TLS_FAULT_MEMORY ? .memory : .configuration, text)
  }

  /// Why a connection has failed; nil while it has not.
  init?(of tls: OpaquePointer) {
    let reason: Reason
    switch unsafe csc_tls_failure_of(tls) {
    case CSC_TLS_FAILURE_NONE, CSC_TLS_FAILURE_MISUSE: return nil
    case CSC_TLS_FAILURE_SILENT: reason = .closedSilently
    case CSC_TLS_FAILURE_NOT_TLS: reason = .notTLS
    case CSC_TLS_FAILURE_TRUNCATED: reason = .truncated
    case CSC_TLS_FAILURE_SYSTEM: reason = .connection
    case CSC_TLS_FAILURE_PEER_ALERT: reason = .alert
    case CSC_TLS_FAILURE_VERIFICATION: reason = .certificate
    case CSC_TLS_FAILURE_UNKNOWN_NAME: reason = .unknownServerName
    case CSC_TLS_FAILURE_NO_KEY: reason = .noPreSharedKey
    case CSC_TLS_FAILURE_MEMORY: reason = .memory
    default: reason = .protocolViolation
    }
    self.init(reason, unsafe String(cString: csc_tls_failure_text(tls)))
    let alerts = unsafe [csc_tls_alert_received(tls), csc_tls_alert_sent(tls)]
    alert = alerts.first { $0 >= 0 }.map { UInt8(truncatingIfNeeded: $0) }
    verification = unsafe csc_tls_verify_error(tls)
  }
}

extension SSLError: CustomStringConvertible {
  /// The error for a person to read, with the alert's number.
  public var description: String {
    alert.map { "\(text) (alert \($0))" } ?? text
  }
}
