// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Whose PROXY headers a server requires; see ``TCPServer/proxyHeaderRequirement``.
///
/// ```swift
/// server.proxyHeaderRequirement = try ProxyHeaderRequirement(from: ["10.0.0.0/8", "2001:db8:1::/48"])
/// ```
///
/// Proxies that connect to a path are `unix:`, whatever the path: who may do that is decided by the permissions of its file.
public struct ProxyHeaderRequirement: Hashable, Sendable {
  /// Why networks are refused.
  public struct NetworkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text that is no network; nil where there was none.
    public let network: String?

    /// What is wrong, such as "No network is given whose PROXY headers are taken".
    public var description: String {
      network.map { "\"\($0)\" is no network such as 10.0.0.0/8, and not \"unix:\"" }
        ?? "No network is given whose PROXY headers are taken"
    }
  }

  /// The networks of the proxies, as they were given.
  public let networks: [String]
  /// Which versions of the header are taken; nil for both.
  public let version: ProxyHeader.Version?
  /// How long a connection may take for its whole header.
  public let timeout: Duration
  /// The longest header of version 2, in bytes.
  public let maximumLength: Int

  /// Makes a requirement.
  ///
  /// - Parameters:
  ///   - networks: those of the proxies, as ``HostAddress/parseSubnet(_:)`` reads them: `10.0.0.0/8`, or an address alone.
  ///     `unix:` is all peers of a UNIX socket. At least one: a header is never taken from everywhere unless that is said, by
  ///     `0.0.0.0/0` and `::/0`.
  ///   - version: the one that is taken; nil for both.
  ///   - timeout: for the whole header, at least a millisecond.
  ///   - maximumLength: of a header of version 2 in bytes, from 16 to 65,551.
  /// - Throws: ``NetworkError`` where there is no network, or one that is none.
  public init(
    from networks: [String],
    version: ProxyHeader.Version? = nil,
    timeout: Duration = .seconds(5),
    maximumLength: Int = 4096
  ) throws(NetworkError) {
    guard !networks.isEmpty else { throw NetworkError(network: nil) }
    for network in networks where Self.core(network) == nil {
      throw NetworkError(network: network)
    }
    self.networks = networks
    self.version = version
    self.timeout = timeout
    self.maximumLength = maximumLength
  }

  private static func core(_ network: String) -> csc_network? {
    var core = csc_network()
    if network == "unix:" {
      core.address.family = UInt8(CSC_FAMILY_UNIX.rawValue)
    } else {
      guard let subnet = HostAddress.parseSubnet(network) else { return nil }
      core.address = subnet.address.core(port: 0)
      core.prefix_length = UInt8(clamping: subnet.prefixLength)
    }
    return core
  }

  /// Gives the core's form to `body`.
  func withCore(_ body: (UnsafePointer<csc_proxy_requirement>) -> Bool) -> Bool {
    let core = networks.compactMap(Self.core)
    return unsafe core.withUnsafeBufferPointer { networks in
      guard let start = networks.baseAddress else { return false }
      let versions =
        switch version {
        case .v1: CSC_PROXY_V1_ONLY
        case .v2: CSC_PROXY_V2_ONLY
        case nil: CSC_PROXY_V1_AND_V2
        }
      var requirement = unsafe csc_proxy_requirement(
        networks: start,
        network_count: networks.count,
        maximum_length: min(max(maximumLength, 16), Int(CSC_PROXY_HEADER_LONGEST)),
        timeout: max(CInt(clamping: Int(timeout.limited / .milliseconds(1))), 1),
        versions: versions
      )
      return unsafe body(&requirement)
    }
  }
}
