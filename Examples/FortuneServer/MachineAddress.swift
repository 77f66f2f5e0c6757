import Glibc
import TCPServerKit

/// The first IPv4 address by which other machines can reach this one; 127.0.0.1 when there is none.
func machineAddress() -> HostAddress {
  var list: UnsafeMutablePointer<ifaddrs>?
  guard getifaddrs(&list) == 0 else { return .localHost }
  defer { freeifaddrs(list) }
  var entry = list
  while let interface = entry?.pointee {
    entry = interface.ifa_next
    guard let address = interface.ifa_addr, address.pointee.sa_family == AF_INET else { continue }
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    guard getnameinfo(address, size, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0,
      let host = HostAddress(String(cString: text)), !host.isLoopback
    else { continue }
    return host
  }
  return .localHost
}
