// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// The first IPv4 address by which other machines can reach this one; 127.0.0.1 when there is none.
package func machineAddress() -> HostAddress {
  var list: UnsafeMutablePointer<ifaddrs>?
  guard getifaddrs(&list) == 0 else { return .localHost }
  defer { freeifaddrs(list) }
  var entry = list
  while let interface = entry?.pointee {
    entry = interface.ifa_next
    guard let address = interface.ifa_addr, address.pointee.sa_family == AF_INET else { continue }
    let ipv4 = address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { $0.pointee.sin_addr }
    let text = withUnsafeBytes(of: ipv4) { $0.map { String($0) }.joined(separator: ".") }
    guard let host = HostAddress(text), !host.isLoopback else { continue }
    return host
  }
  return .localHost
}

/// Whether what connects to `host` arrives at a socket of this machine that listens on `address`, at the same port.
///
/// - Parameter host: an address, or a name; of names only `localhost` is known.
package func leadsBack(_ host: String, to address: HostAddress) -> Bool {
  let hosts = host == "localhost" ? [.localHost, .localHostIPv6] : [HostAddress(host)].compactMap(\.self)
  return hosts.contains { leadsBack($0, to: address) }
}

private func leadsBack(_ host: HostAddress, to address: HostAddress) -> Bool {
  // What is all addresses to listen on is this machine to connect to.
  let destination: HostAddress =
    switch host {
    case .any, .anyIPv4: .localHost
    case .anyIPv6: .localHostIPv6
    default: host
    }
  guard destination != address else { return true }
  guard destination.isLoopback || NetworkInterface.allAddresses.contains(destination) else { return false }
  return switch address {
  case .any: true
  case .anyIPv4: destination.ipv4 != nil
  case .anyIPv6: destination.ipv4 == nil
  default: false
  }
}
