// SPDX-License-Identifier: Apache-2.0

/// How a server behaves that listens through a proxy; see ``TCPServer/proxyListenOptions``.
public struct ProxyListenOptions: Hashable, Sendable {
  /// Whether the server asks the proxy again each time a peer has come; true at first.
  ///
  /// One request takes one peer. Without asking again the server stops listening when its last request has taken
  /// its peer, or the proxy is lost.
  public var rebinds = true

  /// How many requests are open at the proxy at once; 1 at first, and at least.
  ///
  /// Each has a port of its own, see ``TCPServer/proxyBindings``, and takes one peer while the others are being
  /// asked for again.
  public var simultaneousBindings = 1

  /// The only address from which peers may come; nil, the default, and ``HostAddress/null`` for any.
  ///
  /// It is sent to the proxy, and the peers that the proxy passes on are checked against it.
  public var expectedPeer: HostAddress?

  /// ``expectedPeer``, unless that is any.
  var onlyPeer: HostAddress? {
    expectedPeer.flatMap { $0.isNull ? nil : $0 }
  }

  /// The usual behaviour.
  public init() {}
}

/// Where a proxy listens for a server.
public struct ProxyBinding: Hashable, Sendable {
  /// The address, as the proxy reported it; the proxy's own where it reported every address.
  public let address: HostAddress
  /// The port.
  public let port: UInt16
}
