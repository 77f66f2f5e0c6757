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
  /// One reference in whatever may hold such a value, and mostly holds none.
  private let content: Content

  private final class Content: Sendable {
    let proxyAddress: HostAddress
    let proxyPort: UInt16
    let header: ProxyHeader
    let headerSize: UInt32

    init(_ proxyAddress: HostAddress, _ proxyPort: UInt16, _ header: ProxyHeader, _ headerSize: UInt32) {
      self.proxyAddress = proxyAddress
      self.proxyPort = proxyPort
      self.header = header
      self.headerSize = headerSize
    }
  }

  /// The address of the connection's own peer, which is the proxy; ``HostAddress/null`` for one that has connected to a path.
  public var proxyAddress: HostAddress {
    content.proxyAddress
  }

  /// The port of the connection's own peer.
  public var proxyPort: UInt16 {
    content.proxyPort
  }

  /// The header: where the client connected to, whether the connection is the proxy's own, and what else the proxy said.
  public var header: ProxyHeader {
    content.header
  }

  /// How many bytes came before the client's own.
  var headerSize: UInt32 {
    content.headerSize
  }

  /// A copy of what the core has.
  @safe init(_ core: UnsafePointer<csc_proxied>) {
    content = unsafe Content(
      HostAddress(core.pointee.proxy),
      core.pointee.proxy.port,
      ProxyHeader(core.pointee.header, tlvs: core.pointee.tlvs),
      core.pointee.header.length
    )
  }

  /// The same, which the core's ends with.
  @safe init(taking core: UnsafeMutablePointer<csc_proxied>) {
    self.init(core)
    unsafe csc_proxied_free(core)
  }

  /// Whether both say the same of the same proxy.
  public static func == (left: ProxiedConnection, right: ProxiedConnection) -> Bool {
    left.proxyAddress == right.proxyAddress && left.proxyPort == right.proxyPort
      && left.header == right.header
  }

  /// Hashes what is compared.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(proxyAddress)
    hasher.combine(proxyPort)
    hasher.combine(header)
  }
}
