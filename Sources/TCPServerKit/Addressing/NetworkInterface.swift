// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// This machine's network interfaces, as far as a server needs to say where it can be reached.
public enum NetworkInterface {
  /// The addresses of all interfaces that are up, loopback among them, as they are now.
  ///
  /// ```swift
  /// let outside = NetworkInterface.allAddresses.first { $0.isIPv4 && !$0.isLoopback }
  /// ```
  public static var allAddresses: [HostAddress] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&list) == 0 else { return [] }
    defer { unsafe freeifaddrs(list) }
    var addresses: [HostAddress] = []
    var next = unsafe list
    while let interface = unsafe next {
      unsafe next = interface.pointee.ifa_next
      guard unsafe interface.pointee.ifa_flags & UInt32(IFF_UP) != 0,
        let address = unsafe interface.pointee.ifa_addr,
        let found = unsafe host(address)
      else { continue }
      addresses.append(found)
    }
    return addresses
  }

  private static func host(_ address: UnsafeMutablePointer<sockaddr>) -> HostAddress? {
    let length =
      switch CInt(unsafe address.pointee.sa_family) {
      case AF_INET: MemoryLayout<sockaddr_in>.size
      case AF_INET6: MemoryLayout<sockaddr_in6>.size
      default: 0
      }
    return length > 0 ? unsafe SocketAddress(address, length: socklen_t(length))?.host : nil
  }
}
