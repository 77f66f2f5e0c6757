// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What a proxy has said of a connection that came through it; see ``TCPServer/proxyHeaderRequirement``.
///
/// ```swift
/// if let proxied = socket.proxied {
///   print("\(socket.peerAddress) by way of \(proxied.proxyAddress)")
/// }
/// ```
public struct ProxiedConnection: Hashable, Sendable {
  /// The address of the connection's own peer, which is the proxy.
  public let proxyAddress: HostAddress
  /// The port of the connection's own peer.
  public let proxyPort: UInt16
  /// The header: where the client connected to, whether the connection is the proxy's own, and what else the proxy said.
  public let header: ProxyHeader

  /// A copy of what the core has.
  @safe init(_ core: UnsafePointer<csc_proxied>) {
    proxyAddress = unsafe HostAddress(core.pointee.proxy)
    proxyPort = unsafe core.pointee.proxy.port
    header = unsafe ProxyHeader(core.pointee.header, tlvs: core.pointee.tlvs)
  }

  /// The same, which the core's ends with.
  @safe init(taking core: UnsafeMutablePointer<csc_proxied>) {
    self.init(core)
    unsafe csc_proxied_free(core)
  }
}
