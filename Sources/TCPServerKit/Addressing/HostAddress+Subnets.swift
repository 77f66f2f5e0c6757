// SPDX-License-Identifier: Apache-2.0

extension HostAddress {
  /// Whether this address is in a subnet, an IPv4-mapped one counting as its IPv4 address.
  ///
  /// ```swift
  /// address.isInSubnet(HostAddress("192.168.0.0")!, prefixLength: 16)
  /// ```
  ///
  /// - Parameters:
  ///   - subnet: an address of the subnet; the bits beyond the prefix do not matter.
  ///   - prefixLength: how many bits the addresses of the subnet have in common: 0 to 32 for IPv4, 0 to 128 for IPv6.
  /// - Returns: false also where the families differ, or the length is none of these.
  public func isInSubnet(_ subnet: HostAddress, prefixLength: Int) -> Bool {
    let (address, subnet) = (ipv4 ?? self, subnet.ipv4 ?? subnet)
    guard address.kind == subnet.kind, address.kind == .ipv4 || address.kind == .ipv6 else { return false }
    let bits = address.isIPv4 ? 32 : 128
    guard (0...bits).contains(prefixLength) else { return false }
    // Swift shifts by the whole width to 0.
    let shift = bits - prefixLength
    let differs = address.low ^ subnet.low
    guard shift < 64 else { return (address.high ^ subnet.high) >> UInt64(shift - 64) == 0 }
    return differs >> UInt64(shift) == 0 && address.high == subnet.high
  }

  /// Whether this address is in a subnet such as ``parseSubnet(_:)`` gives.
  public func isInSubnet(_ subnet: (address: HostAddress, prefixLength: Int)) -> Bool {
    isInSubnet(subnet.address, prefixLength: subnet.prefixLength)
  }

  /// Reads a subnet: an address, a slash and the length of the prefix, such as `192.168.0.0/16` or `fe80::/10`. An
  /// address alone is the subnet of that address only.
  ///
  /// - Returns: nil for anything else.
  public static func parseSubnet(_ text: String) -> (address: HostAddress, prefixLength: Int)? {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = parts.first.flatMap({ HostAddress(String($0)) }), address.isIPv4 || address.isIPv6
    else {
      return nil
    }
    let bits = address.isIPv4 ? 32 : 128
    guard parts.count == 2 else { return (address, bits) }
    guard parts[1].utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let length = Int(parts[1]), length <= bits
    else { return nil }
    return (address, length)
  }
}
