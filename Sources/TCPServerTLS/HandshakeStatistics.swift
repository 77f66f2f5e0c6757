// SPDX-License-Identifier: Apache-2.0

/// What an ``SSLServer`` has counted of its handshakes.
///
/// Each connection that was accepted is in exactly one of the numbers: ``resumed`` and ``full`` are those of
/// ``completed`` again, and ``ratePauses`` counts no connections. All but ``current`` only rise.
public struct HandshakeStatistics: Hashable, Sendable {
  /// How many connections are in their handshake now.
  public internal(set) var current = 0
  /// How many are encrypted, or were.
  public internal(set) var completed: UInt64 = 0
  /// How many of ``completed`` resumed a session.
  public internal(set) var resumed: UInt64 = 0
  /// How many of ``completed`` did not, which cost a signature.
  public var full: UInt64 { completed - resumed }
  /// How many failed: by what the peer sent, by its alert, or because the connection broke.
  public internal(set) var failed: UInt64 = 0
  /// How many were closed for a first byte that is none of TLS.
  public internal(set) var notTLS: UInt64 = 0
  /// How many the peer has closed before its first byte, as health checks do.
  public internal(set) var closedSilently: UInt64 = 0
  /// How many were not complete in time; see ``SSLServer/handshakeTimeout``.
  public internal(set) var timedOut: UInt64 = 0
  /// How many were closed for a newer one; see ``SSLServer/maxHandshakes``.
  public internal(set) var dropped: UInt64 = 0
  /// How many were in progress when the server closed.
  public internal(set) var closed: UInt64 = 0
  /// How often handshakes paused for ``SSLServer/handshakeRate``.
  public internal(set) var ratePauses: UInt64 = 0
}
