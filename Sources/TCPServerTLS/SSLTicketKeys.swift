// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS

/// The keys of session tickets, by which clients resume a session without a signature of the server.
///
/// A configuration and its copies share them, and so do all loops of a ``TCPServerKit/TCPServerGroup``: each accepts
/// the others' tickets. Every 12 hours a new key is made, and the oldest of three is wiped; a ticket is accepted for 24
/// hours.
///
/// `@unchecked Sendable` because of this invariant: the C library locks them.
@safe public final class SSLTicketKeys: @unchecked Sendable {
  let pointer: OpaquePointer

  /// Makes random keys.
  ///
  /// - Throws: ``SSLError/Reason/memory`` when memory or random numbers are short.
  public init() throws(SSLError) {
    guard let keys = unsafe csc_tls_ticket_keys_new() else {
      throw SSLError.outOfMemory
    }
    unsafe pointer = keys
  }

  deinit {
    unsafe csc_tls_ticket_keys_free(pointer)
  }

  /// Makes a new key now, and wipes the oldest.
  ///
  /// - Returns: false, with the keys as they were, when random numbers are short.
  @discardableResult
  public func rotate() -> Bool {
    unsafe csc_tls_ticket_keys_rotate(pointer)
  }

  /// The keys for another process, or the next start of the program. Keep them as secret as a private key.
  public func export() -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: Int(CSC_TLS_TICKET_KEYS_SIZE)) { buffer, count in
      guard let bytes = buffer.baseAddress else { return }
      unsafe csc_tls_ticket_keys_export(pointer, bytes)
      count = Int(CSC_TLS_TICKET_KEYS_SIZE)
    }
  }

  /// Replaces the keys by exported ones, and wipes those that were there.
  ///
  /// - Throws: ``SSLError/Reason/configuration`` for bytes that are no keys; the keys are as they were.
  public func replace(by exported: [UInt8]) throws(SSLError) {
    var error = csc_tls_error()
    guard unsafe csc_tls_ticket_keys_import(pointer, exported, exported.count, &error) else {
      throw SSLError(error)
    }
  }
}
