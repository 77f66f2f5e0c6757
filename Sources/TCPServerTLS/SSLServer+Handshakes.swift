// SPDX-License-Identifier: Apache-2.0

public import TCPServerKit

/// Where handshakes are made, and how many.
extension SSLServer {
  /// The threads that make the handshakes; nil, the default, for the loop itself.
  ///
  /// May be changed at any time, and holds for handshakes that begin later. One object may be for several servers:
  /// those of a group are given it by the closure of the group's initializer. Where the system has no room for a thread
  /// the loop makes them, and where the configuration or a handler gives pre-shared keys, which OpenSSL waits for.
  public final var handshakeThreads: SSLHandshakeThreads? {
    get {
      requireLoop("SSLServer.handshakeThreads")
      return handshakes.threads
    }
    set {
      requireLoop("SSLServer.handshakeThreads")
      handshakes.threads = newValue
    }
  }

  /// How many handshakes begin in a second, full ones and resumed ones; nil, the default, for as many as come.
  ///
  /// A handshake begins with the client's first byte. Beyond the rate it waits for its turn, in the order of those
  /// bytes, within ``handshakeTimeout`` and ``maxHandshakes``; ``HandshakeStatistics/ratePauses`` counts how often
  /// handshakes began to wait. Those that have begun go on. May be changed at any time. Of a group each server has a
  /// rate of its own.
  public final var handshakeRate: AcceptRate? {
    get {
      requireLoop("SSLServer.handshakeRate")
      return handshakes.rate
    }
    set {
      requireLoop("SSLServer.handshakeRate")
      handshakes.rate = newValue
    }
  }
}
