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
